//! What the names of elements, classes and roles say about their content.

/// Elements that never contain text of the page.
pub(super) fn is_unreadable(name: &str) -> bool {
    matches!(
        name,
        "script"
            | "style"
            | "noscript"
            | "template"
            | "head"
            | "iframe"
            | "object"
            | "embed"
            | "applet"
            | "canvas"
            | "svg"
            | "audio"
            | "video"
            | "map"
            | "area"
            | "link"
            | "meta"
            | "title"
            | "base"
            | "input"
            | "select"
            | "option"
            | "optgroup"
            | "datalist"
            | "textarea"
            | "progress"
            | "meter"
            | "frame"
            | "frameset"
            | "noframes"
            | "param"
            | "source"
            | "track"
            | "dialog"
    )
}

/// Elements that are around the main content and not part of it.
pub(super) fn is_frame(name: &str) -> bool {
    matches!(name, "nav" | "footer" | "aside" | "button" | "menu" | "figcaption")
}

/// Elements that begin on a new line.
pub(super) fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "center"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hgroup"
            | "hr"
            | "html"
            | "legend"
            | "li"
            | "main"
            | "menu"
            | "nav"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "summary"
            | "table"
            | "tbody"
            | "td"
            | "tfoot"
            | "th"
            | "thead"
            | "tr"
            | "caption"
            | "ul"
            | "button"
    )
}

/// Elements with an empty line before and after them.
pub(super) fn is_paragraph(name: &str) -> bool {
    matches!(
        name,
        "p" | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "blockquote"
            | "pre"
            | "ul"
            | "ol"
            | "dl"
            | "table"
            | "figure"
            | "article"
            | "section"
            | "hr"
    )
}

pub(super) fn is_heading(name: &str) -> bool {
    matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6")
}

/// Roles (WAI-ARIA) of what is around the content.
pub(super) fn is_frame_role(role: &str) -> bool {
    matches!(
        role,
        "navigation"
            | "banner"
            | "contentinfo"
            | "complementary"
            | "search"
            | "dialog"
            | "alertdialog"
            | "menu"
            | "menubar"
            | "toolbar"
            | "tooltip"
            | "button"
            | "tablist"
            | "alert"
    )
}

/// Words in classes and ids of what is not content. A word matches whole: names are split where letters end and at capitals.
/// Sorted.
const FRAME_WORDS: &[&str] = &[
    "ad",
    "ads",
    "adsense",
    "adslot",
    "advert",
    "advertisement",
    "advertising",
    "aside",
    "author",
    "authors",
    "banner",
    "banners",
    "bio",
    "bottombar",
    "breadcrumb",
    "breadcrumbs",
    "byline",
    "caption",
    "captions",
    "carousel",
    "comment",
    "commentlist",
    "comments",
    "consent",
    "contact",
    "cookie",
    "cookies",
    "copyright",
    "credit",
    "credits",
    "crumbs",
    "dateline",
    "disclaimer",
    "discussion",
    "disqus",
    "donate",
    "dropdown",
    "facebook",
    "fb",
    "feedback",
    "flyout",
    "follow",
    "foot",
    "footer",
    "gallery",
    "gdpr",
    "hidden",
    "hide",
    "instagram",
    "jumplinks",
    "kicker",
    "legal",
    "lightbox",
    "linkedin",
    "login",
    "masthead",
    "menu",
    "metadata",
    "modal",
    "mostread",
    "nav",
    "navbar",
    "navbox",
    "navigation",
    "newsletter",
    "noprint",
    "offscreen",
    "optin",
    "outbrain",
    "overlay",
    "pager",
    "pagination",
    "paging",
    "paywall",
    "pinterest",
    "popular",
    "popup",
    "print",
    "promo",
    "promoted",
    "promotion",
    "rating",
    "recirc",
    "recommend",
    "recommendation",
    "recommendations",
    "recommended",
    "registration",
    "related",
    "rss",
    "share",
    "shared",
    "sharing",
    "shoutbox",
    "sidebar",
    "signup",
    "skip",
    "slideshow",
    "social",
    "sponsor",
    "sponsored",
    "subscribe",
    "subscription",
    "taboola",
    "tags",
    "teaser",
    "toolbar",
    "tooltip",
    "trending",
    "twitter",
    "widget",
];

/// Words in classes and ids of content. Sorted.
const CONTENT_WORDS: &[&str] = &[
    "article",
    "articlebody",
    "blog",
    "body",
    "content",
    "contentbody",
    "copy",
    "entry",
    "hentry",
    "main",
    "page",
    "post",
    "postbody",
    "postcontent",
    "prose",
    "story",
    "storybody",
    "text",
];

/// What a class or an id says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) frame: bool,
    pub(super) content: bool,
}

/// Splits names into words and looks them up.
pub(super) fn hints(names: &str) -> Hints {
    let mut hints = Hints::default();
    let bytes = names.as_bytes();
    let mut start = 0;
    for at in 0..=bytes.len() {
        let ends = at == bytes.len()
            || !bytes[at].is_ascii_alphabetic()
            || (at > start && bytes[at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase());
        if !ends {
            continue;
        }
        let mut lower = [0; 16];
        if let Some(word) = lower.get_mut(..at - start) {
            word.copy_from_slice(&bytes[start..at]);
            word.make_ascii_lowercase();
            let word = std::str::from_utf8(word).unwrap_or_default();
            hints.frame |= FRAME_WORDS.binary_search(&word).is_ok();
            hints.content |= CONTENT_WORDS.binary_search(&word).is_ok();
        }
        start = if bytes.get(at).is_some_and(u8::is_ascii_alphabetic) { at } else { at + 1 };
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_whole() {
        assert!(FRAME_WORDS.is_sorted() && CONTENT_WORDS.is_sorted());
        let frame = |names: &str| hints(names).frame;
        assert!(frame("post-comments") && frame("relatedLinks") && frame("x AD_slot") && frame("nav"));
        assert!(!frame("navy header-shadow") && !frame("download") && !frame("commentary"));
        assert!(hints("entry-content").content && hints("articleBody").content && !hints("contents").content);
    }
}
