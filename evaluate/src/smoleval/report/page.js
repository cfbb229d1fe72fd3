const box = document.getElementById("search");
if (box) {
  const all = [...document.querySelectorAll(".examples article")].map((one) => [one, one.textContent.toLowerCase()]);
  const found = document.getElementById("found");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const [one, text] of all) {
      const shown = words.every((word) => text.includes(word));
      one.hidden = !shown;
      count += shown;
    }
    found.textContent = words.length ? `${count} of ${all.length}` : "";
  });
}
