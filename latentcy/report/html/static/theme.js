"use strict";
// Before anything is drawn, so that no page flashes in the other theme.
try {
  const kept = localStorage.getItem("latentcy-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* a page opened from a file may keep nothing */ }
document.documentElement.classList.add("scripted");
