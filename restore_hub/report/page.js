"use strict";
// Curves: show the values at the step under the pointer, or at the one that the arrow keys reach.
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector(":scope > svg");
  if (!svg) continue;
  const cursor = svg.querySelector(".cursor");
  const [where, ...shown] = chart.querySelectorAll(".readout b");
  const curves = [...svg.querySelectorAll("polyline")].map((line) => ({
    x: [...line.points].map((point) => point.x),
    steps: line.dataset.steps.split(" ").map(Number),
    values: line.dataset.values.split(" "),
  }));
  const places = new Map();
  for (const curve of curves) curve.steps.forEach((step, i) => places.set(step, curve.x[i]));
  const stops = [...places].sort((a, b) => a[0] - b[0]);
  let at = stops.length - 1;

  const nearest = (list, value) =>
    list.reduce((best, one, i) => (Math.abs(one - value) < Math.abs(list[best] - value) ? i : best), 0);
  const show = (index, visible = true) => {
    at = Math.min(Math.max(index, 0), stops.length - 1);
    const [step, x] = stops[at];
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", visible ? "visible" : "hidden");
    where.textContent = step;
    curves.forEach((curve, i) => {
      shown[i].textContent = curve.values[nearest(curve.steps, step)];
    });
  };
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show(nearest(stops.map((stop) => stop[1]), x));
  };
  const rest = () => show(stops.length - 1, false);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", rest);
  svg.addEventListener("blur", rest);
  svg.addEventListener("focus", () => chart.querySelector(".readout").setAttribute("aria-live", "polite"));
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: stops.length - 1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(move);
  });
}

// Pictures: lay one over another, divided at the slider. Without this script they stand side by side.
for (const viewer of document.querySelectorAll(".viewer")) {
  const range = viewer.querySelector("input");
  if (!range) continue;
  const frames = viewer.querySelector(".frames");
  const [left, right] = viewer.querySelectorAll("select");
  const divider = document.createElement("div");
  divider.className = "divider";
  frames.append(divider);
  viewer.classList.add("live");

  const lay = () => {
    for (const frame of frames.querySelectorAll(".frame")) {
      const isLeft = frame.dataset.label === left.value;
      frame.classList.toggle("shown", isLeft || frame.dataset.label === right.value);
      frame.classList.toggle("over-left", isLeft);
      frame.style.clipPath = isLeft ? `inset(0 ${100 - range.value}% 0 0)` : "";
    }
    divider.style.left = `${range.value}%`;
  };
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons && event.pointerType !== "mouse") return;
    const box = frames.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    lay();
  };
  range.addEventListener("input", lay);
  left.addEventListener("change", lay);
  right.addEventListener("change", lay);
  frames.addEventListener("pointermove", drag);
  frames.addEventListener("pointerdown", drag);
  lay();
}
