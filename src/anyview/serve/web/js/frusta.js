/** Cameras as frusta with their pictures, to look at and to click. */

import * as THREE from "../vendor/three.module.min.js";
import { cameraCenter, distance, toWorld, unproject } from "./scene.js";

/** @typedef {import("./scene.js").PosedView} PosedView */

/**
 * How far from its centre a camera's picture is drawn: not further than neighbours stand apart, and small in the scene.
 *
 * @param {PosedView[]} views
 * @param {number} extent Of the scene.
 */
export function frustumSize(views, extent) {
  const centers = views.map(cameraCenter);
  const gaps = centers.flatMap((center, index) => centers.slice(index + 1).map((other) => distance(center, other)));
  const apart = gaps.length ? gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)] : extent;
  return Math.min(Math.max(0.3 * apart, 0.03 * extent), 0.08 * extent);
}

export class Frusta {
  /**
   * @param {PosedView[]} views
   * @param {number} size
   */
  constructor(views, size) {
    this.object = new THREE.Group();
    this.size = size;
    this.centers = views.map((view) => new THREE.Vector3(...cameraCenter(view)));
    this.members = views.map((view, index) => this.#frustum(view, index / views.length));
    this.object.add(...this.members.map(({ group }) => group));
  }

  /**
   * @param {PosedView} view
   * @param {number} hue
   */
  #frustum(view, hue) {
    const pictureCorners = [[0, 0], [view.width, 0], [view.width, view.height], [0, view.height]];
    const corners = pictureCorners.map(([x, y]) => toWorld(view, unproject(view, x, y, this.size)));
    const center = cameraCenter(view);
    const color = new THREE.Color().setHSL(hue, 0.85, 0.55);
    const edges = corners.flatMap((corner, index) => [center, corner, corner, corners[(index + 1) % 4]]).flat();
    const lines = new THREE.LineSegments(
      new THREE.BufferGeometry().setAttribute("position", new THREE.Float32BufferAttribute(edges, 3)),
      new THREE.LineBasicMaterial({ color }),
    );
    const sides = new THREE.Mesh(
      new THREE.BufferGeometry().setAttribute("position", new THREE.Float32BufferAttribute([center, ...corners].flat(), 3)),
      new THREE.MeshBasicMaterial({ color, transparent: true, opacity: 0.12, side: THREE.DoubleSide, depthWrite: false }),
    );
    sides.geometry.setIndex([0, 1, 2, 0, 2, 3, 0, 3, 4, 0, 4, 1]);
    const picture = new THREE.Mesh(
      new THREE.BufferGeometry().setAttribute("position", new THREE.Float32BufferAttribute(corners.flat(), 3)),
      new THREE.MeshBasicMaterial({ color, side: THREE.DoubleSide, transparent: true, opacity: 0.4 }),
    );
    picture.geometry.setAttribute("uv", new THREE.Float32BufferAttribute([0, 1, 1, 1, 1, 0, 0, 0], 2));
    picture.geometry.setIndex([0, 1, 2, 0, 2, 3]);
    const group = new THREE.Group();
    group.add(lines, sides, picture);
    return { group, lines, sides, picture };
  }

  /**
   * Put the picture into a camera's frustum.
   *
   * @param {number} index
   * @param {ImageBitmap} image
   * @returns {THREE.Texture} What it became.
   */
  setPicture(index, image) {
    const texture = new THREE.Texture(image);
    texture.colorSpace = THREE.SRGBColorSpace;
    texture.flipY = false; // an ImageBitmap cannot be flipped while it is uploaded
    texture.needsUpdate = true;
    const { material, geometry } = this.members[index].picture;
    geometry.setAttribute("uv", new THREE.Float32BufferAttribute([0, 0, 1, 0, 1, 1, 0, 1], 2));
    material.map = texture;
    material.color.set("white");
    material.opacity = 0.9;
    material.needsUpdate = true;
    return texture;
  }

  /**
   * Hide all while somebody looks through one of the cameras, and those that somebody walks into: their pictures would
   * cover the scene.
   *
   * @param {THREE.Vector3} eye In the world.
   */
  hideFrom(eye) {
    const distances = this.centers.map((center) => center.distanceTo(eye) / this.size);
    const isInside = distances.some((distance) => distance < 0.8);
    this.members.forEach(({ group }, index) => (group.visible = !isInside && distances[index] > 2));
  }

  /**
   * The frontmost camera that a ray meets.
   *
   * @param {THREE.Raycaster} raycaster
   * @returns {number} -1 if there is none.
   */
  pick(raycaster) {
    const visible = this.members.filter(({ group }) => group.visible && this.object.visible);
    const [hit] = raycaster.intersectObjects(visible.flatMap(({ sides, picture }) => [sides, picture]), false);
    return hit ? this.members.findIndex(({ sides, picture }) => sides === hit.object || picture === hit.object) : -1;
  }

  dispose() {
    for (const { lines, sides, picture } of this.members) {
      for (const part of [lines, sides, picture]) {
        part.geometry.dispose();
        part.material.dispose();
      }
      picture.material.map?.dispose();
    }
  }
}
