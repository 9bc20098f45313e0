//! `print`, `println` and `printf` as Go's `fmt` does them.

use super::lex::quote;
use super::value::Value;

/// Puts a space between two neighbours of which neither is text.
pub(super) fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut last_is_text = true;
    for (index, value) in arguments.iter().enumerate() {
        let is_text = matches!(value, Value::String(_));
        if index > 0 && !is_text && !last_is_text {
            out.push(' ');
        }
        out.push_str(&plain(value));
        last_is_text = is_text;
    }
    out
}

/// Puts a space between all and a new line behind them.
pub(super) fn println(arguments: &[Value]) -> String {
    let words: Vec<String> = arguments.iter().map(plain).collect();
    words.join(" ") + "\n"
}

fn plain(value: &Value) -> String {
    match value {
        Value::None => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// A float as `%v` shows it: shortest digits, with an exponent below 1e-4 and from 1e6.
pub(super) fn general(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) && value.is_finite() {
        return exponent(&format!("{value:e}"));
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    format!("{value}")
}

/// Rust's `1e21` as Go's `1e+21`.
fn exponent(text: &str) -> String {
    let Some((digits, power)) = text.split_once('e') else { return text.to_owned() };
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |rest| ('-', rest));
    format!("{digits}e{sign}{power:0>2}")
}

/// The widest field or precision; a template is no way to fill memory.
const MAX_WIDTH: usize = 1 << 16;

#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats `arguments` by `format`; what does not fit shows as in Go, such as `%!d(string=x)`.
pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut next = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                '0' => verb.zero = true,
                _ => break,
            }
            chars.next();
        }
        verb.width = count(&mut chars, &mut next, &mut out).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(count(&mut chars, &mut next, &mut out).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match next.next() {
                Some(value) => {
                    let text = verb.show(letter, value);
                    out.push_str(&verb.padded(text, letter));
                }
                None => out.push_str(&format!("%!{letter}(MISSING)")),
            },
        }
    }
    let extra: Vec<String> =
        next.map(|value| format!("{}={}", value.type_name(), plain(value))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn count<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    next: &mut impl Iterator<Item = &'a Value>,
    out: &mut String,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        return match next.next() {
            Some(Value::Int(number)) => usize::try_from(*number).ok().map(|n| n.min(MAX_WIDTH)),
            _ => {
                out.push_str("%!(BADWIDTH)");
                None
            }
        };
    }
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        value = Some((value.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
    }
    value
}

impl Verb {
    fn show(&self, letter: char, value: &Value) -> String {
        match (letter, value) {
            ('v', Value::String(text)) if self.sharp => quote(text),
            ('v', Value::Int(number)) => self.signed(*number, &number.unsigned_abs().to_string()),
            ('v', value) => plain(value),
            ('T', value) => value.type_name().to_owned(),
            ('t', Value::Bool(value)) => value.to_string(),
            (letter, Value::List(items)) if !matches!(letter, 'p') => {
                let shown: Vec<String> = items.iter().map(|item| self.show(letter, item)).collect();
                format!("[{}]", shown.join(" "))
            }
            ('s', Value::String(text)) => self.cut(text),
            ('q', Value::String(text)) if self.sharp && !text.contains('`') => format!("`{text}`"),
            ('q', Value::String(text)) => quote(&self.cut(text)),
            ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
            ('X', Value::String(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
            (_, Value::Int(number)) => self.integer(letter, *number),
            (_, Value::Float(number)) => self.float(letter, *number),
            (_, value) => bad(letter, value),
        }
    }

    fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        }
    }

    fn signed(&self, number: i64, digits: &str) -> String {
        let sign = match (number < 0, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        format!("{sign}{digits:0>width$}", width = self.precision.unwrap_or(0))
    }

    fn integer(&self, letter: char, number: i64) -> String {
        let size = number.unsigned_abs();
        let prefix = |prefix: &'static str| if self.sharp { prefix } else { "" };
        let digits = match letter {
            'd' => size.to_string(),
            'b' => format!("{}{size:b}", prefix("0b")),
            'o' => format!("{}{size:o}", prefix("0")),
            'O' => format!("0o{size:o}"),
            'x' => format!("{}{size:x}", prefix("0x")),
            'X' => format!("{}{size:X}", prefix("0X")),
            'c' | 'q' | 'U' => return character(letter, number),
            _ => return bad(letter, &Value::Int(number)),
        };
        self.signed(number, &digits)
    }

    fn float(&self, letter: char, number: f64) -> String {
        let precision = self.precision.unwrap_or(6);
        let text = match letter {
            'f' | 'F' => format!("{number:.precision$}"),
            'e' => exponent(&format!("{number:.precision$e}")),
            'E' => exponent(&format!("{number:.precision$e}")).to_uppercase(),
            'g' => general(number),
            _ => return bad(letter, &Value::Float(number)),
        };
        if self.plus && number >= 0.0 { format!("+{text}") } else { text }
    }

    fn padded(&self, text: String, letter: char) -> String {
        let length = text.chars().count();
        if length >= self.width {
            return text;
        }
        let fill = self.width - length;
        if self.minus {
            return text + &" ".repeat(fill);
        }
        if self.zero && letter != 'v' {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text.as_str()),
            };
            return format!("{sign}{}{digits}", "0".repeat(fill));
        }
        " ".repeat(fill) + &text
    }
}

fn character(letter: char, number: i64) -> String {
    let code = u32::try_from(number).unwrap_or(0xfffd);
    let c = char::from_u32(code).unwrap_or('\u{fffd}');
    match letter {
        'c' => c.to_string(),
        'q' => format!("'{c}'"),
        _ => format!("U+{code:04X}"),
    }
}

fn bad(letter: char, value: &Value) -> String {
    match value {
        Value::None => format!("%!{letter}(<nil>)"),
        value => format!("%!{letter}({}={})", value.type_name(), plain(value)),
    }
}
