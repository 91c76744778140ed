"""Long sequences through overlapping windows, in bounded memory."""

from anyview.streaming.known import KnownPoses as KnownPoses
from anyview.streaming.opening import stream as stream
from anyview.streaming.outputs import write_outputs as write_outputs
from anyview.streaming.stream import Stream as Stream
from anyview.streaming.stream import StreamWindow as StreamWindow
