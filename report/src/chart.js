"use strict";
// The read-out under the pointer, for every chart of the page. The page is complete without it.
for (const figure of document.querySelectorAll("figure[data-lines]")) {
  const lines = JSON.parse(figure.dataset.lines);
  const drawing = figure.querySelector(":scope > svg");
  const shape = (name, kind) => {
    const made = document.createElementNS(drawing.namespaceURI, name);
    made.setAttribute("class", kind);
    return made;
  };
  const written = (value) => {
    const size = Math.abs(value);
    const needsExponent = size !== 0 && (size < 1e-3 || size >= 1e12);
    const text = needsExponent
      ? value.toExponential(3)
      : Number(value.toPrecision(5)).toLocaleString("en", { maximumFractionDigits: 8 });
    return text.replace("e+", "e").replace(/^-/, "\u2212");
  };
  // Points are [x, y, step, value] or [x, y, step, value, smoothed value], in the order of x.
  const nearest = (points, x) => {
    let low = 0;
    let high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle + 1][0] + points[middle][0] < 2 * x) low = middle + 1;
      else high = middle;
    }
    return points[low];
  };
  const marks = shape("g", "marks");
  const readout = document.createElement("div");
  readout.className = "readout";
  const add = (parent, name, text, kind = "") => {
    const made = parent.appendChild(document.createElement(name));
    made.className = kind;
    made.textContent = text;
    return made;
  };

  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const scale = drawing.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const found = lines.filter((line) => line.points.length).map((line) => [line, nearest(line.points, x)]);
    if (!found.length) return;
    const distance = ([, point]) => Math.abs(point[0] - x);
    const [, lead] = found.reduce((best, one) => (distance(one) < distance(best) ? one : best));
    const bottom = drawing.viewBox.baseVal.height - 30;
    const cursor = shape("path", "cursor");
    cursor.setAttribute("d", `M${lead[0]} 12V${bottom}`);
    marks.replaceChildren(cursor);
    readout.replaceChildren();
    add(readout, "b", `step ${lead[2].toLocaleString("en")}`);
    for (const [line, point] of found) {
      const spot = shape("circle", `spot ${line.class}`);
      spot.setAttribute("cx", point[0]);
      spot.setAttribute("cy", point[1]);
      spot.setAttribute("r", 4);
      marks.append(spot);
      const row = add(readout, "div", "");
      add(row, "i", "", line.class);
      add(row, "span", `${line.label} `);
      add(row, "b", written(point[3]));
      if (point.length > 4) add(row, "span", ` smoothed ${written(point[4])}`);
      if (point[2] !== lead[2]) add(row, "span", ` at step ${point[2].toLocaleString("en")}`);
    }
    drawing.append(marks);
    figure.append(readout);
    const frame = figure.getBoundingClientRect();
    const center = lead[0] / scale + box.left - frame.left;
    const fits = center + 14 + readout.offsetWidth < frame.width;
    const left = fits ? center + 14 : center - 14 - readout.offsetWidth;
    readout.style.left = `${Math.max(4, left)}px`;
    readout.style.top = `${box.top - frame.top + 12}px`;
  });
  drawing.addEventListener("pointerleave", () => {
    marks.remove();
    readout.remove();
  });
}
