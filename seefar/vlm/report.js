"use strict";
const two = (n) => String(n).padStart(2, "0");
const clock = (s) => (s >= 3600 ? Math.floor(s / 3600) + ":" : "") + two(Math.floor(s / 60) % 60) + ":" + two(Math.floor(s) % 60);

for (const lane of document.querySelectorAll(".lane")) {
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.hidden = true;
  cursor.append(document.createElement("b"));
  lane.append(cursor);
  lane.addEventListener("pointermove", (event) => {
    const box = lane.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    cursor.hidden = false;
    cursor.style.left = share * 100 + "%";
    cursor.firstChild.textContent = clock(share * Number(lane.dataset.seconds));
  });
  lane.addEventListener("pointerleave", () => { cursor.hidden = true; });
}

for (const mark of document.querySelectorAll(".mark")) {
  const card = document.getElementById(mark.hash.slice(1));
  const light = (on) => { mark.classList.toggle("on", on); card.classList.toggle("on", on); };
  for (const one of [mark, card]) {
    for (const name of ["pointerenter", "focusin"]) one.addEventListener(name, () => light(true));
    for (const name of ["pointerleave", "focusout"]) one.addEventListener(name, () => light(false));
  }
}
