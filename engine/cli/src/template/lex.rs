//! Text to tokens.

/// A token with its place (bytes) in the template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) position: usize,
    pub(super) kind: TokenKind,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Text,
    Left,
    Right,
    Space,
    Identifier,
    Field,
    Variable,
    Dot,
    Number,
    Char,
    String,
    RawString,
    Pipe,
    Comma,
    Declare,
    Assign,
    Open,
    Close,
    Other,
    Error,
    End,
}

/// Splits `text` into tokens; trim markers are applied and comments are gone.
///
/// What is no token becomes the last one, of kind [`TokenKind::Error`] with the message as its
/// text: the parser may find something wrong before it.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, position: 0, depth: 0, tokens: Vec::new() };
    if let Err(Malformed(message)) = lexer.run() {
        let position = lexer.position;
        lexer.tokens.push(Token { position, kind: TokenKind::Error, text: message });
    }
    lexer.tokens
}

/// Why the text is no token.
struct Malformed(String);

struct Lexer<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
    tokens: Vec<Token>,
}

fn malformed<T>(message: impl std::fmt::Display) -> Result<T, Malformed> {
    Err(Malformed(message.to_string()))
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let text = self.rest()[..length].to_owned();
        self.tokens.push(Token { position: self.position, kind, text });
        self.position += length;
    }

    fn run(&mut self) -> Result<(), Malformed> {
        let mut trim = false;
        while let Some(start) = self.rest().find("{{") {
            let after = &self.rest()[start + 2..];
            let trim_left = after.starts_with('-') && after[1..].starts_with(SPACES);
            let whole = &self.rest()[..start];
            self.push_text(whole, trim, trim_left);
            self.position += start;
            trim = self.action(trim_left)?;
        }
        let whole = self.rest();
        self.push_text(whole, trim, false);
        self.position = self.text.len();
        self.push(TokenKind::End, 0);
        Ok(())
    }

    fn push_text(&mut self, whole: &str, trim_start: bool, trim_end: bool) {
        let text = if trim_start { whole.trim_start_matches(SPACES) } else { whole };
        let text = if trim_end { text.trim_end_matches(SPACES) } else { text };
        if !text.is_empty() {
            let text = text.to_owned();
            self.tokens.push(Token { position: self.position, kind: TokenKind::Text, text });
        }
    }

    /// Reads one action; true if the text behind it loses its leading space.
    fn action(&mut self, trim_left: bool) -> Result<bool, Malformed> {
        let left = if trim_left { 4 } else { 2 };
        if self.rest()[left..].starts_with("/*") {
            return self.comment(left);
        }
        self.push(TokenKind::Left, left);
        self.depth = 0;
        loop {
            if let Some(length) = self.right() {
                if self.depth > 0 {
                    return malformed("unclosed left paren");
                }
                let trim = length > 2;
                self.push(TokenKind::Right, length);
                return Ok(trim);
            }
            let Some(next) = self.rest().chars().next() else {
                return malformed("unclosed action");
            };
            self.inside(next)?;
        }
    }

    fn comment(&mut self, left: usize) -> Result<bool, Malformed> {
        self.position += left;
        let Some(end) = self.rest().find("*/") else { return malformed("unclosed comment") };
        self.position += end + 2;
        let Some(length) = self.right() else {
            return malformed("comment ends before closing delimiter");
        };
        self.position += length;
        Ok(length > 2)
    }

    /// Length of a right delimiter here, with its trim marker.
    fn right(&self) -> Option<usize> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some(2);
        }
        let trimmed = rest.trim_start_matches(SPACES);
        let spaces = rest.len() - trimmed.len();
        (spaces == 1 && trimmed.starts_with("-}}")).then_some(4)
    }

    fn inside(&mut self, next: char) -> Result<(), Malformed> {
        let rest = self.rest();
        let second = rest[next.len_utf8()..].chars().next();
        match next {
            ' ' | '\t' | '\r' | '\n' => {
                let length = rest.len() - rest.trim_start_matches(SPACES).len();
                // A space that belongs to a trim marker stays for it.
                let behind = &rest[length..];
                let length =
                    if behind.starts_with("-}}") && length > 1 { length - 1 } else { length };
                self.push(TokenKind::Space, length);
            }
            '=' => self.push(TokenKind::Assign, 1),
            ':' if second == Some('=') => self.push(TokenKind::Declare, 2),
            ':' => return malformed("expected :="),
            '|' => self.push(TokenKind::Pipe, 1),
            ',' => self.push(TokenKind::Comma, 1),
            '"' => return self.quoted('"', TokenKind::String, "unterminated quoted string"),
            '`' => return self.raw_string(),
            '\'' => return self.quoted('\'', TokenKind::Char, "unterminated character constant"),
            '$' => return self.name_behind(TokenKind::Variable),
            '.' if second.is_none_or(|c| !c.is_ascii_digit()) => {
                return self.name_behind(TokenKind::Field);
            }
            '+' | '-' | '.' | '0'..='9' => return self.number(),
            c if c.is_alphanumeric() || c == '_' => {
                let length = word_length(rest);
                self.push(TokenKind::Identifier, length);
                return self.check_terminator();
            }
            '(' => {
                self.depth += 1;
                self.push(TokenKind::Open, 1);
            }
            ')' => {
                if self.depth == 0 {
                    return malformed("unexpected right paren");
                }
                self.depth -= 1;
                self.push(TokenKind::Close, 1);
            }
            c if c.is_ascii_graphic() => self.push(TokenKind::Other, 1),
            c => {
                return malformed(format_args!(
                    "unrecognized character in action: {}",
                    quoted_char(c)
                ));
            }
        }
        Ok(())
    }

    fn name_behind(&mut self, kind: TokenKind) -> Result<(), Malformed> {
        let length = 1 + word_length(&self.rest()[1..]);
        let kind = if kind == TokenKind::Field && length == 1 { TokenKind::Dot } else { kind };
        self.push(kind, length);
        if kind == TokenKind::Dot { Ok(()) } else { self.check_terminator() }
    }

    /// After a word there must be something that ends it.
    fn check_terminator(&self) -> Result<(), Malformed> {
        match self.rest().chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(' | '=') => {
                Ok(())
            }
            Some(_) if self.rest().starts_with("}}") => Ok(()),
            Some(c) => malformed(format_args!("bad character {}", quoted_char(c))),
        }
    }

    fn quoted(&mut self, end: char, kind: TokenKind, message: &str) -> Result<(), Malformed> {
        let mut escaped = false;
        for (index, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == end => {
                    self.push(kind, index + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        malformed(message)
    }

    fn raw_string(&mut self) -> Result<(), Malformed> {
        match self.rest()[1..].find('`') {
            Some(end) => {
                self.push(TokenKind::RawString, end + 2);
                Ok(())
            }
            None => malformed("unterminated raw quoted string"),
        }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let mut length = sign;
        let mut previous = ' ';
        for c in rest[sign..].chars() {
            let exponent = matches!(previous, 'e' | 'E' | 'p' | 'P');
            let hexadecimal = rest[sign..].starts_with("0x") || rest[sign..].starts_with("0X");
            let part = c.is_alphanumeric() || matches!(c, '.' | '_');
            let sign = matches!(c, '+' | '-') && exponent && !hexadecimal;
            if !(part || sign) {
                break;
            }
            length += c.len_utf8();
            previous = c;
        }
        if length == sign || super::parse::number(&rest[..length]).is_none() {
            // The character behind the last one that could belong to a number is shown too.
            let shown = &rest[..length.max(1)];
            return malformed(format_args!("bad number syntax: {}", quote(shown)));
        }
        self.push(TokenKind::Number, length);
        Ok(())
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// `U+0040 '@'`, as Go's `%#U`.
fn quoted_char(c: char) -> String {
    if c.is_control() {
        format!("U+{:04X}", u32::from(c))
    } else {
        format!("U+{:04X} '{c}'", u32::from(c))
    }
}

/// As Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
