// Draws the meshes of every .mesh-viewer with a depth buffer of its own; drag or use the arrow keys to turn them.
// Frame: x right, y down, z away from the viewer; faces counter-clockwise from outside.
(() => {
  const DISTANCE = 4.2; // of the camera, in radii of the mesh
  const LIGHTS = [[-0.45, -0.6, -0.66, 0.62], [0.8, -0.1, -0.59, 0.22], [0.1, 0.9, -0.4, 0.1]]; // direction, strength
  const AMBIENT = 0.26;
  const KEYS = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] };

  const shade = (part, bright) => Math.min(255, part * bright) | 0;
  const unpack = (text, Kind) => new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

  function start(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const faces = unpack(data.faces, Uint16Array);
    const meshes = data.meshes.map((mesh) => ({
      color: mesh.color,
      points: Float32Array.from(unpack(mesh.vertices, Int16Array), (value) => value * data.step),
      normals: Float32Array.from(unpack(mesh.normals, Int8Array), (value) => value / 127),
    }));
    let radius = 0;
    for (const { points } of meshes)
      for (let i = 0; i < points.length; i += 3)
        radius = Math.max(radius, Math.hypot(points[i], points[i + 1], points[i + 2]));
    const canvas = box.querySelector("canvas");
    const view = { yaw: 0, pitch: 0, shown: "0" };
    let waiting = false;

    function draw() {
      waiting = false;
      const side = Math.max(64, Math.round(canvas.clientWidth * Math.max(2, window.devicePixelRatio || 1)));
      if (canvas.width !== side) canvas.width = canvas.height = side;
      const context = canvas.getContext("2d");
      const image = context.createImageData(side, side);
      const pixels = new Uint32Array(image.data.buffer);
      const depth = new Float32Array(side * side).fill(Infinity);
      meshes.forEach((mesh, place) => {
        if (view.shown === "all" || view.shown === String(place)) paint(mesh, pixels, depth, side);
      });
      context.putImageData(image, 0, 0);
      box.dataset.drawn = String(pixels.reduce((count, pixel) => count + (pixel !== 0), 0));
    }

    function paint(mesh, pixels, depth, side) {
      const count = mesh.points.length / 3;
      const x = new Float32Array(count), y = new Float32Array(count), z = new Float32Array(count);
      const light = new Float32Array(count);
      const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
      const [red, green, blue] = mesh.color;
      const focal = 0.48 * side * Math.sqrt(DISTANCE * DISTANCE - 1);
      for (let i = 0; i < count; i++) {
        const [px, py, pz] = turn(mesh.points, 3 * i);
        const away = pz / radius + DISTANCE;
        x[i] = side / 2 + (focal * px) / radius / away;
        y[i] = side / 2 + (focal * py) / radius / away;
        z[i] = away;
        const [nx, ny, nz] = turn(mesh.normals, 3 * i);
        light[i] = AMBIENT;
        for (const [lx, ly, lz, strength] of LIGHTS) light[i] += strength * Math.max(0, nx * lx + ny * ly + nz * lz);
      }
      for (let f = 0; f < faces.length; f += 3) fill(faces[f], faces[f + 1], faces[f + 2]);

      function turn(values, at) {
        const a = values[at], b = values[at + 1], c = values[at + 2];
        const across = cy * a + sy * c, deep = cy * c - sy * a;
        return [across, cp * b - sp * deep, sp * b + cp * deep];
      }

      function fill(a, b, c) {
        const area = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]);
        if (area >= 0) return; // seen from behind
        const left = Math.max(0, Math.ceil(Math.min(x[a], x[b], x[c]) - 0.5));
        const right = Math.min(side - 1, Math.floor(Math.max(x[a], x[b], x[c]) - 0.5));
        const top = Math.max(0, Math.ceil(Math.min(y[a], y[b], y[c]) - 0.5));
        const bottom = Math.min(side - 1, Math.floor(Math.max(y[a], y[b], y[c]) - 0.5));
        for (let row = top; row <= bottom; row++) {
          for (let column = left; column <= right; column++) {
            const u = column + 0.5, v = row + 0.5;
            const wb = ((u - x[a]) * (y[c] - y[a]) - (v - y[a]) * (x[c] - x[a])) / area;
            const wc = ((x[b] - x[a]) * (v - y[a]) - (y[b] - y[a]) * (u - x[a])) / area;
            const wa = 1 - wb - wc;
            if (wa < -1e-4 || wb < -1e-4 || wc < -1e-4) continue;
            const at = row * side + column, deep = wa * z[a] + wb * z[b] + wc * z[c];
            if (deep >= depth[at]) continue;
            depth[at] = deep;
            const bright = Math.min(1.08, wa * light[a] + wb * light[b] + wc * light[c]);
            pixels[at] = 0xff000000 | (shade(blue, bright) << 16) | (shade(green, bright) << 8) | shade(red, bright);
          }
        }
      }
    }

    function later() {
      if (!waiting) requestAnimationFrame(draw);
      waiting = true;
    }

    function turnBy(yaw, pitch) {
      view.yaw -= yaw;
      view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch - pitch));
      later();
    }

    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) turnBy(event.movementX * 0.011, event.movementY * 0.011);
    });
    canvas.addEventListener("dblclick", () => turnBy(view.yaw, view.pitch));
    canvas.addEventListener("keydown", (event) => {
      if (!KEYS[event.key]) return;
      event.preventDefault();
      turnBy(...KEYS[event.key]);
    });
    for (const button of box.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        view.shown = button.dataset.show;
        for (const other of box.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
        later();
      });
    }
    window.addEventListener("resize", later);
    draw();
  }

  document.querySelectorAll(".mesh-viewer").forEach(start);
})();
