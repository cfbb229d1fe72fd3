// Markdown to elements. Everything an answer contains is untrusted: HTML in it is shown as text, what is made of the
// rest is sanitized, images are links, and characters that turn the direction of the text are spelled out.
import {Marked} from "./vendor/marked.esm.js";
import "./vendor/purify.min.js";
import hljs from "./vendor/highlight.min.js";
import {button, copy, element} from "./dom.js";

// Beyond this, in characters, an answer is shown as it is, and code without colors.
const MAX_MARKDOWN = 200_000, MAX_COLORED = 20_000;
const TAGS = ["a", "blockquote", "br", "code", "del", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
  "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const RULES = {ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "title", "class", "align", "start"], ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false, ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, RETURN_DOM_FRAGMENT: true};

const escaped = text => text.replace(/[&<>"']/g, character => `&#${character.charCodeAt(0)};`);

const marked = new Marked({gfm: true, breaks: true, renderer: {
  html: token => token.block ? `<p>${escaped(token.text)}</p>` : escaped(token.text),
  // Below the page's own headings.
  heading(token) {
    const name = `h${Math.min(token.depth + 1, 6)}`;
    return `<${name}>${this.parser.parseInline(token.tokens)}</${name}>`;
  },
  image: token => `<a href="${escaped(token.href)}">${escaped(token.text || token.href)}</a>`,
  checkbox: token => token.checked ? "☑ " : "☐ ",
}});

DOMPurify.addHook("afterSanitizeAttributes", node => {
  if (node.tagName !== "A" || !node.hasAttribute("href")) return;
  node.setAttribute("rel", "noopener noreferrer nofollow");
  node.setAttribute("target", "_blank");
  node.setAttribute("title", node.getAttribute("href"));
});

// Spells out the characters that override or isolate the direction of a text; elements have a direction of their own.
export function plain(text) {
  return text.replace(/[\u202A-\u202E\u2066-\u2069]/g,
    mark => `⟨U+${mark.charCodeAt(0).toString(16).toUpperCase()}⟩`);
}

function colored(text, language) {
  if (!hljs.getLanguage(language) || text.length > MAX_COLORED) return text;
  const html = hljs.highlight(text, {language, ignoreIllegals: true}).value;
  return DOMPurify.sanitize(html, {ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true});
}

// A block of code with its language and a button that copies what is shown.
export function codeBlock(text, language, isOpen = false) {
  const code = element("code", {dir: "ltr"}, isOpen ? text : colored(text, language));
  return element("div", {className: "code"},
    element("div", {className: "above"}, element("span", {textContent: language}),
      button("Copy", event => copy(text, event.target), {"aria-label": `Copy the ${language || "code"} block`})),
    element("pre", {tabIndex: 0}, code));
}

// What cannot be written as HTML: code blocks with buttons, tables that scroll, directions.
function finish(fragment, isOpen) {
  for (const code of fragment.querySelectorAll("pre > code")) {
    const language = /language-(\S+)/.exec(code.className)?.[1] ?? "";
    code.parentElement.replaceWith(codeBlock(code.textContent.replace(/\n$/, ""), language, isOpen));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const scroller = element("div", {className: "scroller", tabIndex: 0, role: "group", "aria-label": "Table"});
    table.replaceWith(scroller);
    scroller.append(table);
  }
  for (const node of fragment.querySelectorAll("p, li, td, th, h2, h3, h4, h5, h6, blockquote")) node.dir = "auto";
  return fragment;
}

// The Markdown of an answer that grows: blocks that have not changed keep their elements, and with them what a person
// has selected there.
export class MarkdownView {
  element = element("div", {className: "markdown"});
  blocks = [];

  show(source, isWriting) {
    if (source === this.shown && isWriting === this.wasWriting) return;
    [this.shown, this.wasWriting] = [source, isWriting];
    const text = plain(source);
    try {
      if (text.length > MAX_MARKDOWN) throw new RangeError("too long");
      this.#showTokens(marked.lexer(text), isWriting);
    } catch {
      // Nested too deeply, or too long.
      this.blocks = [];
      this.element.replaceChildren(element("div", {className: "plain", textContent: text}));
    }
  }

  #showTokens(all, isWriting) {
    const links = JSON.stringify(all.links);
    const tokens = all.filter(token => token.type !== "space" && token.type !== "def");
    if (!this.blocks.length) this.element.replaceChildren();
    tokens.forEach((token, index) => {
      const isOpen = isWriting && index === tokens.length - 1;
      const key = `${isOpen} ${links} ${token.raw}`;
      const before = this.blocks[index];
      if (before?.key === key) return;
      const node = element("div", {className: "block"},
        finish(DOMPurify.sanitize(marked.parser([token]), RULES), isOpen));
      if (before) before.node.replaceWith(node); else this.element.append(node);
      this.blocks[index] = {key, node};
    });
    for (const extra of this.blocks.splice(tokens.length)) extra.node.remove();
  }
}
