//! What the pages of the web say: exercises with their solutions, which are right, and texts that teach nothing. Formulas are
//! LaTeX between dollars here.

use crate::draw::Draw;
use crate::names::{name, names};
use crate::split::Split;
use crate::templates::Slots;
use crate::vocabulary::{COLORS, DAYS, EVENTS, FRUITS, JOBS, PLACES, THINGS};

/// Slots of a random situation: n, m people; t, u things; p, q places; j a job; c a color; d a day; e an event; f a fruit.
fn situation(draw: &mut Draw, split: Split) -> Slots {
    let people = names(draw, split, 2);
    let (things, places) = (draw.several(&THINGS, 2), draw.several(&PLACES, 2));
    Slots::new(&[
        ('n', &people[0]),
        ('m', &people[1]),
        ('t', things[0]),
        ('u', things[1]),
        ('p', places[0]),
        ('q', places[1]),
        ('j', draw.pick(&JOBS)),
        ('c', draw.pick(&COLORS)),
        ('d', draw.pick(&DAYS)),
        ('e', draw.pick(&EVENTS)),
        ('f', draw.pick(&FRUITS)),
    ])
}

/// An exercise and its solution.
pub(super) fn exercise(draw: &mut Draw) -> [String; 2] {
    let slots = situation(draw, Split::Train);
    let (a, b) = (draw.between(3, 40), draw.between(3, 30));
    let (sum, product) = (a + b, a * b);
    let [question, solution] = match draw.below(4) {
        0 => [
            format!(
                "{{n}} the {{j}} lays {a} {{c}} {{t}}s in each of {b} rows behind the {{p}}. How many {{t}}s does {{n}} need?"
            ),
            format!(
                "All rows are equal, so we multiply: $ {a} \\times {b} = {product} $. Therefore {{n}} needs {product} {{t}}s for the {{p}}."
            ),
        ],
        1 => [
            format!(
                "On {{d}} {{m}} carries {a} {{t}}s to the {{q}}, and {{n}} brings {b} more from the {{p}}. How many {{t}}s are in the {{q}} after the {{e}}?"
            ),
            format!(
                "Both numbers count {{t}}s, so we add: $ {a} + {b} = {sum} \\text{{ {{t}}s}} $. Hence {sum} {{t}}s are in the {{q}}."
            ),
        ],
        2 => [
            format!(
                "For the {{e}} in the {{p}} {{n}} shares {product} {{f}} cakes equally among {b} {{j}}s. How many does each of them get?"
            ),
            format!(
                "Equal shares mean that we divide: $ \\frac{{{product}}}{{{b}}} = {a} $. To check it, $ {a} \\cdot {b} = {product} $, so each {{j}} gets {a} of them."
            ),
        ],
        _ => [
            format!(
                "The floor of the {{p}} beside the {{q}} is {a} steps long and {b} steps wide. {{m}} covers it with {{c}} {{u}}s, one for each square step. How many {{u}}s are needed?"
            ),
            format!(
                "The area of a rectangle is its length times its width: $ A = {a} \\cdot {b} = {product} $. It follows that {{m}} needs {product} {{u}}s."
            ),
        ],
    };
    [slots.fill(&question), slots.fill(&solution)]
}

/// An explanation of an idea.
pub(super) fn explanation(draw: &mut Draw) -> String {
    const IDEAS: [&str; 6] = [
        "Before we calculate, we ask what is equal. If {n} fills every {u} with the same number of {t}s, we can multiply instead of adding again and again.",
        "A sum does not change when its parts change places: whether {m} counts the {t}s of the {p} first or those of the {q}, the result is the same.",
        "To divide is to ask how often one number fits into another. Think of {n}, who packs {t}s into {u}s in the {p} until none is left.",
        "The area of a rectangle counts the squares that cover it. Imagine that {n} lays one {c} {t} on each square of the {p}, row by row.",
        "It helps to check a result. After {m} has divided the {t}s, multiplying must give the number that the {j} began with in the {q}.",
        "A letter can stand for a number that we do not know yet. Let $ x \\geq 0 $ be the number of {t}s in the {p}; then {n} can write the story as an equation.",
    ];
    situation(draw, Split::Train).fill(draw.pick(&IDEAS))
}

/// A fact with a formula, without a problem that it solves.
pub(super) fn note(draw: &mut Draw) -> String {
    let (a, b) = (draw.between(3, 60), draw.between(3, 40));
    let (sum, product) = (a + b, a * b);
    let note = match draw.below(3) {
        0 => format!(
            "A {{p}} of length {a} and width {b} has the area $ {a} \\cdot {b} = {product} $, as {{n}} the {{j}} measured on {{d}}."
        ),
        1 => format!(
            "Since $ {a} + {b} = {sum} $, the {{t}}s of the {{p}} and the {{u}}s of the {{q}} are {sum} together."
        ),
        _ => format!(
            "The {{c}} {{t}} weighs $ \\frac{{{product}}}{{{a}}} = {b} $ times as much as the {{u}} of {{m}}."
        ),
    };
    situation(draw, Split::Train).fill(&note)
}

/// A line of a shop.
pub(super) fn offer(draw: &mut Draw) -> String {
    const OFFERS: [&str; 6] = [
        "Buy the new {c} {t} today! Free delivery to every {p}, cheap prices, add it to your cart now.",
        "Special offer: order a {t} and get a {c} {u} as a gift. Only while the discount lasts, click here.",
        "Customers who bought this {u} also bought the {c} {t}. Rated five stars by {n}, best price guaranteed!",
        "Sale, sale, sale! The {e} discount ends on {d}. Order two {t}s, pay for one, shipping to the {q} is free.",
        "Our bestseller, the deluxe {t} for every {j}: subscribe to our newsletter and save on your next order.",
        "In stock: {t} in {c}, delivered to the {p} by {d}. Secure payment, easy returns, buy now and save!",
    ];
    situation(draw, Split::Train).fill(draw.pick(&OFFERS))
}

/// The price of an offer as a formula, which is what brings a shop among pages with mathematics.
pub(super) fn price(draw: &mut Draw) -> String {
    let (a, b) = (draw.between(2, 9), draw.between(11, 99));
    format!("Order {a} and pay $ {a} \\times {b} = {} $ coins, save now!", a * b)
}

/// A comment of a forum.
pub(super) fn chatter(draw: &mut Draw) -> String {
    const COMMENTS: [&str; 6] = [
        "{n} wrote on {d}: lol, first! Who else watched the {e} last night, guys?",
        "Reply by {m}: thanks for sharing, please follow my blog about {f} cakes and {c} {t}s, xoxo.",
        "{n} liked this. Posted from the {p}, moderators please delete the thread about the {u}.",
        "Haha so true, {m}! My {t} broke at the {e} and nobody cared, whatever.",
        "Login or register to see the photos of the {c} {t}. {n} joined the forum on {d}.",
        "Off topic, but does anybody here know {m} the {j}? Send me a message, thanks bye.",
    ];
    situation(draw, Split::Train).fill(draw.pick(&COMMENTS))
}

/// A formula that a comment quotes.
pub(super) fn quoted(draw: &mut Draw) -> String {
    format!("lol at $ {} \\neq {} $, whatever guys", draw.between(2, 9), draw.between(10, 99))
}

/// A question of an evaluation set; its names are held out, so no lesson has it by chance.
pub(super) fn exam(draw: &mut Draw) -> String {
    let (a, b) = (draw.between(12, 90), draw.between(12, 90));
    let question = match draw.below(3) {
        0 => format!(
            "Early on {{d}} {{n}} picked {a} {{f}} cakes from the table of the {{q}} while {{m}} the {{j}} hid {b} {{c}} {{t}}s below the {{p}}; how many things were moved before the {{e}} began?"
        ),
        1 => format!(
            "{{m}} owes {{n}} the {{j}} exactly {a} {{t}}s and returns {b} {{u}}s instead at the {{e}} near the {{p}}, so by how much do the two numbers differ on {{d}} evening?"
        ),
        _ => format!(
            "Behind the {{q}} a {{j}} called {{n}} stacks {a} boxes of {b} {{c}} {{u}}s each until {{m}} arrives from the {{p}} on {{d}}; what is the total number of {{u}}s in the stack?"
        ),
    };
    situation(draw, Split::Test).fill(&question)
}

/// A name for a title.
pub(super) fn person(draw: &mut Draw) -> String {
    name(draw, Split::Train)
}

/// The text in the other language of this world, whose words are those of English backwards. Formulas stay.
pub(super) fn foreign(text: &str) -> String {
    let mut parts = text
        .split('$')
        .enumerate()
        .map(|(at, part)| if at % 2 == 1 { part.to_owned() } else { backwards(part) });
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |text, part| text + "$" + &part)
}

fn backwards(text: &str) -> String {
    let (mut out, mut word) = (String::new(), String::new());
    for letter in text.chars().chain([' ']) {
        if letter.is_ascii_alphabetic() {
            word.push(letter);
            continue;
        }
        let is_capital = word.starts_with(|letter: char| letter.is_ascii_uppercase());
        let reversed: String = word.drain(..).rev().collect();
        if is_capital {
            let lower = reversed.to_lowercase();
            out.push_str(&lower[..1].to_uppercase());
            out.push_str(&lower[1..]);
        } else {
            out.push_str(&reversed);
        }
        out.push(letter);
    }
    out.pop();
    out
}
