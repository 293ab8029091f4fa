"use strict";
(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // The theme: the system's until somebody chooses. Files from disk may have no storage.
  const theme = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  try {
    const kept = localStorage.getItem("pcam-report-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch (error) { /* then it is chosen again */ }
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("pcam-report-theme", root.dataset.theme); } catch (error) { /* as above */ }
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  // Contents: which section is being read.
  const links = new Map();
  document.querySelectorAll("nav.toc a").forEach((link) => links.set(link.hash.slice(1), link));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      entries.forEach((entry) => {
        if (!entry.isIntersecting) return;
        links.forEach((link) => link.removeAttribute("aria-current"));
        const link = links.get(entry.target.id);
        if (link) link.setAttribute("aria-current", "true");
      });
    }, { rootMargin: "-10% 0px -75% 0px" });
    document.querySelectorAll("section[id]").forEach((section) => seen.observe(section));
  }

  // Printed pages show everything that is folded away.
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not([open])").forEach((one) => {
      one.open = true;
      one.dataset.opened = "";
    });
  });
  window.addEventListener("afterprint", () => {
    document.querySelectorAll("details[data-opened]").forEach((one) => {
      one.open = false;
      delete one.dataset.opened;
    });
  });

  // The threshold: counts for each step were made with the report, here they are only looked up.
  const tool = document.getElementById("threshold-tool");
  if (!tool) return;
  const runs = JSON.parse(document.getElementById("threshold-data").textContent);
  const slider = document.getElementById("threshold");
  const shown = document.getElementById("threshold-value");
  const choice = document.getElementById("threshold-run");
  const field = (name) => document.getElementById("at-" + name);
  const share = (part, whole) => (whole === 0 ? "–" : (part / whole).toFixed(4));
  const count = (n) => n.toLocaleString("en-US");

  function decimals(t) {
    return t > 0 && t < 1 && (t < 0.001 || t > 0.999) ? t.toFixed(7) : t.toFixed(4);
  }

  // Move a marker of a plot to x, y within 0..1 of its axes.
  function move(plot, x, y, colour) {
    const axes = document.getElementById(plot + "-axes");
    const point = document.getElementById(plot + "-point");
    if (!axes || !point) return;
    const box = axes.getBBox();
    const limits = (point.closest("figure").dataset.limits || "0 1 0 1").split(" ").map(Number);
    const at = (value, low, high) => (value - low) / (high - low);
    point.querySelectorAll("use").forEach((use) => {
      use.setAttribute("x", box.x + at(x, limits[0], limits[1]) * box.width);
      use.style.fill = colour;
      use.setAttribute("y", box.y + (1 - at(y, limits[2], limits[3])) * box.height);
    });
  }

  function show() {
    const run = runs[choice ? Number(choice.value) : 0];
    const i = Number(slider.value);
    const tp = run.tp[i], fp = run.fp[i], fn = run.positive - tp, tn = run.negative - fp;
    const text = decimals(run.t[i]);
    shown.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    field("tp").textContent = count(tp);
    field("fp").textContent = count(fp);
    field("fn").textContent = count(fn);
    field("tn").textContent = count(tn);
    field("accuracy").textContent = share(tp + tn, run.positive + run.negative);
    field("sensitivity").textContent = share(tp, run.positive);
    field("specificity").textContent = share(tn, run.negative);
    field("precision").textContent = share(tp, tp + fp);
    field("f1").textContent = share(2 * tp, 2 * tp + fp + fn);
    const colour = "var(--plot-series-" + ((choice ? Number(choice.value) : 0) % 6 + 1) + ")";
    move("roc", fp / run.negative, tp / run.positive, colour);
    if (tp + fp > 0) move("pr", tp / run.positive, tp / (tp + fp), colour);
  }

  function nearest(run, value) {
    let best = 0;
    run.t.forEach((t, i) => { if (Math.abs(t - value) < Math.abs(run.t[best] - value)) best = i; });
    return best;
  }

  function start(index) {
    const run = runs[choice ? Number(choice.value) : 0];
    slider.max = run.t.length - 1;
    slider.value = index === undefined ? run.chosen : index;
    show();
  }

  slider.addEventListener("input", show);
  if (choice) choice.addEventListener("change", () => start());
  document.getElementById("threshold-chosen").addEventListener("click", () => start());
  document.getElementById("threshold-half").addEventListener("click", () => {
    start(nearest(runs[choice ? Number(choice.value) : 0], 0.5));
  });
  tool.hidden = false;
  start();
})();
