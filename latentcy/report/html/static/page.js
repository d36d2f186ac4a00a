"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse(byId("data").textContent);
  const root = document.documentElement;

  // ---- theme -----------------------------------------------------------------------------
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

  const toggle = byId("theme");
  const label = () => {
    toggle.textContent = isDark() ? "Light theme" : "Dark theme";
    toggle.setAttribute("aria-pressed", String(isDark()));
  };
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("latentcy-theme", root.dataset.theme); } catch { /* not kept */ }
    label();
    redraw();
  });
  prefersDark.addEventListener("change", () => { label(); redraw(); });
  label();

  // ---- plots -----------------------------------------------------------------------------
  // The figures name colours by role; style.css has each role's colour in each theme.
  const ROLES = ["black", "gray", "silver", "white", "blue", "orange", "green", "red"];

  function colours() {
    const probe = document.body.appendChild(document.createElement("i"));
    const found = {};
    for (const role of ROLES) {
      probe.style.color = `var(--plot-${role})`;
      found[role] = getComputedStyle(probe).color;
    }
    probe.remove();
    return found;
  }

  const COLOUR_KEYS = /color$/i;

  function painted(value, palette, key = "") {
    if (Array.isArray(value)) return value.map((one) => painted(one, palette, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, one]) => [name, painted(one, palette, name)]),
      );
    }
    return COLOUR_KEYS.test(key) && Object.hasOwn(palette, value) ? palette[value] : value;
  }

  const CONFIG = { displayModeBar: false, responsive: true, showTips: false };
  const drawn = new Set();

  function draw(place, palette, width) {
    const figure = painted(data.plots[place.dataset.plot], palette);
    figure.layout.font.family = getComputedStyle(document.body).fontFamily;
    if (place.clientWidth < 560) narrow(figure.layout);
    if (width) figure.layout.width = width;
    drawn.add(place);
    Plotly.react(place, figure.data, figure.layout, CONFIG);
  }

  function narrow(layout) {
    layout.font.size = 12;
    layout.margin.r = 10;
    for (const name of ["xaxis", "yaxis"]) {
      if (layout[name]?.title?.text) layout[name].title.font = { size: 12 };
    }
    const ticks = layout.xaxis?.tickvals;
    if (ticks && ticks.length > 4) {  // every other one, so that none runs into the next
      const step = Math.ceil(ticks.length / 4);
      const one = ticks.indexOf(1);
      const keep = (_, index) => (index - Math.max(one, 0)) % step === 0;
      layout.xaxis.ticktext = layout.xaxis.ticktext.filter(keep);
      layout.xaxis.tickvals = ticks.filter(keep);
    }
  }

  function redraw(width) {
    const palette = colours();
    for (const place of drawn) draw(place, palette, width);
  }

  const visible = (place) => place.offsetParent !== null;

  function drawVisible() {
    const palette = colours();
    for (const place of all("[data-plot]")) {
      if (visible(place) && !drawn.has(place)) draw(place, palette);
    }
  }

  // ---- trend: one series at a time -------------------------------------------------------
  const series = byId("series");
  if (series) {
    const choose = () => {
      for (const one of all(".series")) one.hidden = one.dataset.series !== series.value;
      drawVisible();
    };
    byId("choose-trend").hidden = series.options.length < 2;
    series.addEventListener("change", choose);
    choose();
  }
  drawVisible();

  // ---- print: light, and as wide as the paper ----------------------------------------------
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    redraw(680);
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
    redraw();
  });

  // ---- reasons in the table of gates -------------------------------------------------------
  const openers = all(".opens");
  const unfold = (button, open) => {
    button.setAttribute("aria-expanded", String(open));
    byId(button.getAttribute("aria-controls")).hidden = !open;
  };
  for (const button of openers) {
    unfold(button, false);
    button.addEventListener("click", () => {
      unfold(button, button.getAttribute("aria-expanded") !== "true");
    });
  }
  switching("all-reasons", "Hide every reason", (open) => {
    for (const button of openers) unfold(button, open);
  });

  // ---- images beyond the first prompts -----------------------------------------------------
  const later = all(".later");
  for (const one of later) one.hidden = true;
  switching("all-prompts", "Show the first prompts", (open) => {
    for (const one of later) one.hidden = !open;
  });

  function switching(id, other, act) {
    const button = byId(id);
    if (!button) return;
    const texts = [button.textContent, other];
    button.hidden = false;
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      button.textContent = texts[Number(open)];
      act(open);
    });
  }

  // ---- copy a command ----------------------------------------------------------------------
  for (const button of all(".copy")) {
    const code = button.closest(".command").querySelector("code");
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {  // not allowed here: leave it selected
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  // ---- the viewer --------------------------------------------------------------------------
  const viewer = byId("viewer");
  const body = byId("viewer-body");
  let current;

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  };

  function tileShot(button, row, caption) {
    const place = all(`.tile[data-c="${row}"][data-p="${button.dataset.p}"]`)[0];
    if (!place) return [];
    const shot = element("figure", "shot");
    shot.append(place.querySelector(".pic").cloneNode(), element("figcaption", "of", caption));
    shot.firstChild.setAttribute("role", "img");
    shot.firstChild.setAttribute("aria-label", caption);
    return [shot];
  }

  function show(button) {
    current = button;
    if (button.classList.contains("triple")) {
      byId("viewer-title").textContent = button.dataset.title;
      body.replaceChildren(...all(".shot", button).map((one) => one.cloneNode(true)));
      // A small image's pixels are what is judged: they are enlarged, not smoothed.
      for (const one of all("img", body)) one.classList.toggle("coarse", one.naturalWidth <= 128);
    } else {
      const row = data.rows[Number(button.dataset.c)];
      const index = Number(button.dataset.p);
      const prompt = data.prompts[index] ? `: ${data.prompts[index]}` : "";
      byId("viewer-title").textContent = `${row.label}, prompt ${index + 1}${prompt}`;
      const reference = row.reference === null ? [] : tileShot(
        button, row.reference, `reference, ${data.rows[row.reference].label}`,
      );
      body.replaceChildren(...reference, ...tileShot(button, button.dataset.c, row.label));
    }
    if (!viewer.open) viewer.showModal();
  }

  // Left and right: the next image of its kind. Up and down: the same case at another prompt.
  function move(by, prompts) {
    const kind = current.classList.contains("triple") ? ".triple" : ".tile";
    let row = all(kind).filter(visible);
    if (prompts && kind === ".tile") row = row.filter((one) => one.dataset.c === current.dataset.c);
    const next = row[row.indexOf(current) + by];
    if (next) show(next);
  }

  for (const button of all(".tile, .triple")) button.addEventListener("click", () => show(button));
  byId("viewer-close").addEventListener("click", () => viewer.close());
  byId("viewer-back").addEventListener("click", () => move(-1));
  byId("viewer-on").addEventListener("click", () => move(1));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => current?.focus());
  viewer.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1], ArrowRight: [1], ArrowUp: [-1, true], ArrowDown: [1, true] };
    if (!Object.hasOwn(way, event.key)) return;
    event.preventDefault();
    move(...way[event.key]);
  });
})();
