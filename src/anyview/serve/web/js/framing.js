/** Where to stand: in a view's camera, or where all is in sight. In the viewer's frame: OpenGL axes, y up. */

import * as THREE from "../vendor/three.module.min.js";
import { quantiles } from "./colors.js";

/** @typedef {import("./scene.js").PosedView} PosedView */
/**
 * @typedef {object} Pose
 * @property {THREE.Vector3} position
 * @property {THREE.Quaternion} quaternion
 * @property {THREE.Vector3} target
 * @property {number} fov Vertical, degrees.
 * @property {THREE.Vector3} lens How far the projection is from a plain one: see `applyLens`.
 */
/** @typedef {ReturnType<typeof sceneFrame>} Frame */

export const PLAIN_LENS = new THREE.Vector3(1, 0, 0);
export const OPENGL_FROM_OPENCV = new THREE.Matrix4().makeScale(1, -1, -1);
/** Points that are looked at, about. */
const SAMPLE = 50000;
/** Degrees, of the canvas's shorter side. */
const OVERVIEW_FOV = 50;

/**
 * Where the scene is, how large, which way is up (as the cameras stand on average), and how far each view sees.
 *
 * @param {import("./scene.js").Points} points
 * @param {PosedView[]} views
 */
export function sceneFrame(points, views) {
  const axes = [0, 1, 2].map((axis) => points.positions.filter((_, index) => index % 3 === axis));
  const bounds = axes.map((values) => quantiles(values, [0.05, 0.5, 0.95]));
  const extent = Math.hypot(...bounds.map(([low, , high]) => high - low)) || 1;
  const middle = new THREE.Vector3(...bounds.map(([, median]) => median || 0));
  const down = new THREE.Vector3();
  for (const { world_to_camera: rows } of views) down.add(new THREE.Vector3(rows[1][0], rows[1][1], rows[1][2]));
  /** @type {number[][]} */
  const seen = views.map(() => []);
  const step = Math.ceil(points.count / SAMPLE);
  for (let index = 0; index < points.count; index += step) seen[points.view[index]].push(points.depth[index]);
  const depths = seen.map((values) => quantiles(Float32Array.from(values), [0.5])[0] || extent);
  return {
    middle: middle.applyMatrix4(OPENGL_FROM_OPENCV),
    extent,
    up: down.negate().transformDirection(OPENGL_FROM_OPENCV),
    depths,
  };
}

/**
 * In a view's camera, with its whole picture in sight.
 *
 * @param {PosedView} view
 * @param {number} depth Of the place to turn around.
 * @param {number} aspect Width of the canvas / its height.
 * @returns {Pose}
 */
export function viewPose(view, depth, aspect) {
  const [[fx, , cx], [, fy, cy]] = view.intrinsics;
  const width = Math.max(view.width, view.height * aspect); // of the canvas, in pixels of the picture
  const height = width / aspect;
  const pose = standing(view);
  return {
    ...pose,
    target: new THREE.Vector3(0, 0, -depth).applyQuaternion(pose.quaternion).add(pose.position),
    fov: THREE.MathUtils.radToDeg(2 * Math.atan(height / 2 / fy)),
    lens: new THREE.Vector3(fx / fy, (2 * (cx - view.width / 2)) / width, (2 * (cy - view.height / 2)) / height),
  };
}

/**
 * Give a camera the projection of a picture's: pixels that are not square (lens.x is fx / fy), a principal point that is
 * not in the middle (lens.y right and lens.z down of it, in halves of the canvas).
 *
 * @param {THREE.PerspectiveCamera} camera
 * @param {THREE.Vector3} lens
 */
export function applyLens(camera, lens) {
  camera.updateProjectionMatrix();
  const { elements } = camera.projectionMatrix;
  elements[0] *= lens.x;
  elements[8] = -lens.y;
  elements[9] = lens.z;
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
}

/**
 * Behind the first camera and above it, with all cameras in sight.
 *
 * @param {Frame} frame
 * @param {PosedView[]} views
 * @param {number} aspect Width of the canvas / its height.
 * @returns {Pose}
 */
export function overviewPose({ middle, extent, up }, views, aspect) {
  const { position } = standing(views[0]);
  const forward = middle.clone().sub(position).normalize();
  position.addScaledVector(forward, -0.35 * extent).addScaledVector(up, 0.25 * extent);
  const slope = Math.tan(THREE.MathUtils.degToRad(OVERVIEW_FOV / 2)) / Math.min(aspect, 1);
  const fov = THREE.MathUtils.radToDeg(2 * Math.atan(slope));
  const quaternion = new THREE.Quaternion().setFromRotationMatrix(new THREE.Matrix4().lookAt(position, middle, up));
  // Farther back until all cameras are in sight, but not for ever: a long walk is no overview.
  const slopes = [slope * aspect, slope].map((value) => 0.9 * value);
  const behind = quaternion.clone().invert();
  const back = Math.max(...views.map((view) => {
    const { x, y, z } = standing(view).position.sub(position).applyQuaternion(behind);
    return Math.max(Math.abs(x) / slopes[0], Math.abs(y) / slopes[1]) + z;
  }));
  const backwards = position.clone().sub(middle).normalize();
  position.addScaledVector(backwards, Math.min(Math.max(back, 0), extent));
  return { position, target: middle.clone(), quaternion, fov, lens: PLAIN_LENS };
}

/** @param {PosedView} view */
function standing(view) {
  const [a, b, c, d] = view.world_to_camera;
  const worldToCamera = new THREE.Matrix4().set(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]);
  const matrix = OPENGL_FROM_OPENCV.clone().multiply(worldToCamera.invert()).multiply(OPENGL_FROM_OPENCV);
  const pose = { position: new THREE.Vector3(), quaternion: new THREE.Quaternion() };
  matrix.decompose(pose.position, pose.quaternion, new THREE.Vector3());
  return pose;
}
