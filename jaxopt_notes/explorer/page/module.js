// The module: the explorer in its page.

const opening = JSON.parse(document.getElementById("opening").textContent);
new Explorer(new Engine(opening, FUNCTIONS), document.getElementById("explorer")).begin();
