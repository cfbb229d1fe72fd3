// Shows only the examples that contain all words of the search box.
const box = document.getElementById("search");
if (box) {
  const examples = [...document.querySelectorAll(".examples article")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
  }));
  const status = document.getElementById("found");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { element, text } of examples) {
      const isShown = words.every((word) => text.includes(word));
      element.hidden = !isShown;
      count += isShown;
    }
    status.textContent = words.length ? `${count} of ${examples.length}` : "";
  });
}
