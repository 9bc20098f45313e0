//! Tokens to nodes.

use super::TemplateError;
use super::functions;
use super::lex::{self, Token, TokenKind, quote};
use super::node::{Branch, Command, Node, Operand, OperandKind, Pipeline};
use super::value::Value;

/// Parses `text`.
///
/// # Errors
/// Go's message with `template: name:line:` before it.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Node>, TemplateError> {
    let tokens = lex::lex(text);
    let mut parser = Parser {
        name,
        text,
        tokens,
        next: 0,
        variables: vec!["$".to_owned()],
        range_depth: 0,
        nesting: 0,
    };
    let mut nodes = Vec::new();
    match parser.list(&mut nodes)? {
        Stop::End => Ok(nodes),
        Stop::Keyword(word) => parser.error(format_args!("unexpected {{{{{word}}}}}")),
    }
}

/// Parentheses and blocks may be this deep, so that no template exhausts the stack.
const MAX_NESTING: usize = 200;

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    range_depth: usize,
    nesting: usize,
}

/// What ended a list of nodes.
#[derive(Clone, Copy)]
enum Stop {
    /// The template.
    End,
    /// `end` or `else`, read without what follows it.
    Keyword(&'static str),
}

type Result<T, E = TemplateError> = std::result::Result<T, E>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token is always `End` or `Error` and never consumed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        if !matches!(token.kind, TokenKind::End | TokenKind::Error) {
            self.next += 1;
        }
        token
    }

    fn skip_spaces(&mut self) {
        while self.peek().kind == TokenKind::Space {
            self.next += 1;
        }
    }

    fn error<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        let position = self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)].position;
        let line = 1 + self.text[..position].matches('\n').count();
        Err(TemplateError(format!("template: {}:{line}: {message}", self.name)))
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T> {
        match token.kind {
            TokenKind::Error => self.error(&token.text),
            _ => self.error(format_args!("unexpected {} in {context}", describe(token))),
        }
    }

    fn list(&mut self, nodes: &mut Vec<Node>) -> Result<Stop> {
        loop {
            let token = self.take();
            match token.kind {
                TokenKind::Text => nodes.push(Node::Text(token.text)),
                TokenKind::End => return Ok(Stop::End),
                TokenKind::Left => {
                    if let Some(stop) = self.action(nodes)? {
                        return Ok(stop);
                    }
                }
                _ => return self.unexpected(&token, "input"),
            }
        }
    }

    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Stop>> {
        self.skip_spaces();
        let word = match self.peek() {
            Token { kind: TokenKind::Identifier, text, .. } => text.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "end" => {
                self.next += 1;
                self.right("end")?;
                return Ok(Some(Stop::Keyword("end")));
            }
            "else" => {
                self.next += 1;
                self.skip_spaces();
                return Ok(Some(Stop::Keyword("else")));
            }
            "if" => nodes.push(Node::If(self.control("if")?)),
            "with" => nodes.push(Node::With(self.control("with")?)),
            "range" => nodes.push(Node::Range(self.control("range")?)),
            "break" | "continue" => nodes.push(self.loop_jump(&word)?),
            "define" | "template" | "block" => {
                return self.error(format_args!("unexpected <{word}> in command"));
            }
            _ => nodes.push(Node::Action(self.pipeline("command", TokenKind::Right)?)),
        }
        Ok(None)
    }

    fn right(&mut self, context: &str) -> Result<()> {
        self.skip_spaces();
        let token = self.take();
        if token.kind == TokenKind::Right { Ok(()) } else { self.unexpected(&token, context) }
    }

    fn loop_jump(&mut self, word: &str) -> Result<Node> {
        self.next += 1;
        self.right(&format!("{{{{{word}}}}}"))?;
        if self.range_depth == 0 {
            return self.error(format_args!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(if word == "break" { Node::Break } else { Node::Continue })
    }

    fn nest(&mut self) -> Result<()> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            self.error("max expression depth exceeded")
        } else {
            Ok(())
        }
    }

    fn control(&mut self, word: &'static str) -> Result<Branch> {
        if self.peek().kind == TokenKind::Identifier {
            self.next += 1;
        }
        self.nest()?;
        let known = self.variables.len();
        let pipeline = self.pipeline(word, TokenKind::Right)?;
        let inside = usize::from(word == "range");
        let mut body = Vec::new();
        self.range_depth += inside;
        let stop = self.list(&mut body)?;
        self.range_depth -= inside;
        let otherwise = self.otherwise(word, stop)?;
        self.variables.truncate(known);
        self.nesting -= 1;
        Ok(Branch { pipeline, body, otherwise })
    }

    /// Reads what follows `{{else` up to the `{{end}}` of this structure.
    fn otherwise(&mut self, word: &'static str, stop: Stop) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        match stop {
            Stop::End => return self.error("unexpected EOF"),
            Stop::Keyword("end") => return Ok(nodes),
            Stop::Keyword(_) => {}
        }
        let chained =
            matches!(self.peek(), Token { kind: TokenKind::Identifier, text, .. } if text == word);
        if chained && word != "range" {
            // `{{else if}}` is an `if` in the else branch that shares the `{{end}}`.
            let branch = self.control(word)?;
            nodes.push(if word == "if" { Node::If(branch) } else { Node::With(branch) });
            return Ok(nodes);
        }
        self.right("else")?;
        match self.list(&mut nodes)? {
            Stop::Keyword("end") => Ok(nodes),
            Stop::Keyword(other) => self.error(format_args!("expected end; found {{{{{other}}}}}")),
            Stop::End => self.error("unexpected EOF"),
        }
    }

    fn pipeline(&mut self, context: &str, end: TokenKind) -> Result<Pipeline> {
        let mut pipeline = Pipeline::default();
        self.declarations(context, &mut pipeline)?;
        loop {
            self.skip_spaces();
            let token = self.peek().clone();
            match token.kind {
                kind if kind == end => {
                    self.next += 1;
                    break;
                }
                TokenKind::Identifier if is_keyword(&token.text) => {
                    self.take();
                    return self.unexpected(&token, context);
                }
                TokenKind::Char
                | TokenKind::Dot
                | TokenKind::Field
                | TokenKind::Identifier
                | TokenKind::Number
                | TokenKind::RawString
                | TokenKind::String
                | TokenKind::Variable
                | TokenKind::Open => pipeline.commands.push(self.command()?),
                _ => {
                    self.take();
                    return self.unexpected(&token, context);
                }
            }
        }
        if pipeline.commands.is_empty() {
            return self.error(format_args!("missing value for {context}"));
        }
        for (index, command) in pipeline.commands.iter().enumerate().skip(1) {
            let first = &command.operands[0].kind;
            if matches!(first, OperandKind::Dot | OperandKind::Nil | OperandKind::Literal(..)) {
                let stage = index + 1;
                return self
                    .error(format_args!("non executable command in pipeline stage {stage}"));
            }
        }
        Ok(pipeline)
    }

    fn declarations(&mut self, context: &str, pipeline: &mut Pipeline) -> Result<()> {
        loop {
            self.skip_spaces();
            if self.peek().kind != TokenKind::Variable {
                return Ok(());
            }
            let start = self.next;
            let variable = self.take().text;
            self.skip_spaces();
            match self.peek().kind {
                kind @ (TokenKind::Assign | TokenKind::Declare) => {
                    self.next += 1;
                    pipeline.assign = kind == TokenKind::Assign;
                    self.variables.push(variable.clone());
                    pipeline.variables.push(variable);
                    return Ok(());
                }
                TokenKind::Comma => {
                    self.next += 1;
                    self.variables.push(variable.clone());
                    pipeline.variables.push(variable);
                    if context != "range" || pipeline.variables.len() > 1 {
                        return self.error(format_args!("too many declarations in {context}"));
                    }
                    self.skip_spaces();
                    if !matches!(
                        self.peek().kind,
                        TokenKind::Variable | TokenKind::Right | TokenKind::Close
                    ) {
                        return self.error("range can only initialize variables");
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
    }

    fn command(&mut self) -> Result<Command> {
        let mut operands = Vec::new();
        loop {
            self.skip_spaces();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.peek().clone();
            match token.kind {
                TokenKind::Space => {
                    self.next += 1;
                    continue;
                }
                TokenKind::Right | TokenKind::Close => {}
                TokenKind::Pipe => self.next += 1,
                _ => {
                    self.take();
                    return self.unexpected(&token, "operand");
                }
            }
            break;
        }
        if operands.is_empty() { self.error("empty command") } else { Ok(Command { operands }) }
    }

    fn operand(&mut self) -> Result<Option<Operand>> {
        let Some(mut term) = self.term()? else { return Ok(None) };
        if self.peek().kind != TokenKind::Field {
            return Ok(Some(term));
        }
        let position = self.peek().position;
        let mut names = Vec::new();
        while self.peek().kind == TokenKind::Field {
            names.push(self.take().text[1..].to_owned());
        }
        match &mut term.kind {
            OperandKind::Field(fields) | OperandKind::Variable(fields) => {
                fields.append(&mut names);
                term.position = position;
                Ok(Some(term))
            }
            OperandKind::Literal(..) | OperandKind::Dot | OperandKind::Nil => {
                self.error(format_args!("unexpected . after term {}", quote(&term.to_string())))
            }
            _ => Ok(Some(Operand { position, kind: OperandKind::Chain(Box::new(term), names) })),
        }
    }

    fn term(&mut self) -> Result<Option<Operand>> {
        let Token { position, kind, text } = self.take();
        let kind = match kind {
            TokenKind::Identifier => match text.as_str() {
                "nil" => OperandKind::Nil,
                "true" | "false" => OperandKind::Literal(Value::Bool(text == "true"), text),
                word if is_keyword(word) => {
                    self.next -= 1;
                    return Ok(None);
                }
                name if functions::exists(name) => OperandKind::Function(text),
                name => {
                    return self.error(format_args!("function {} not defined", quote(name)));
                }
            },
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Variable => {
                if !self.variables.contains(&text) {
                    return self.error(format_args!("undefined variable {}", quote(&text)));
                }
                OperandKind::Variable(vec![text])
            }
            TokenKind::Field => OperandKind::Field(vec![text[1..].to_owned()]),
            TokenKind::Number => match number(&text) {
                Some(value) => OperandKind::Literal(value, text),
                None => return self.error(format_args!("illegal number syntax: {}", quote(&text))),
            },
            TokenKind::Char => match unquote(&text).map(|s| (s.chars().count(), s)) {
                Some((1, s)) => {
                    let code = s.chars().next().map_or(0, |c| i64::from(u32::from(c)));
                    OperandKind::Literal(Value::Int(code), text)
                }
                _ => return self.error(format_args!("malformed character constant: {text}")),
            },
            TokenKind::String => match unquote(&text) {
                Some(value) => OperandKind::Literal(value.into(), text),
                None => return self.error("invalid syntax"),
            },
            TokenKind::RawString => {
                OperandKind::Literal(text[1..text.len() - 1].replace('\r', "").into(), text)
            }
            TokenKind::Open => {
                self.nest()?;
                let pipeline = self.pipeline("parenthesized pipeline", TokenKind::Close)?;
                self.nesting -= 1;
                OperandKind::Parenthesis(Box::new(pipeline))
            }
            TokenKind::End | TokenKind::Error => return Ok(None),
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { position, kind }))
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "else"
            | "end"
            | "range"
            | "with"
            | "define"
            | "template"
            | "block"
            | "break"
            | "continue"
    )
}

/// A token as Go's messages show it.
fn describe(token: &Token) -> String {
    match token.kind {
        TokenKind::End => "EOF".to_owned(),
        TokenKind::Identifier if is_keyword(&token.text) => format!("<{}>", token.text),
        TokenKind::Dot => "<.>".to_owned(),
        _ if token.text.chars().count() > 10 => {
            format!("{}...", quote(&token.text.chars().take(10).collect::<String>()))
        }
        _ => quote(&token.text),
    }
}

/// A number in Go's syntax: decimal, hexadecimal, octal and binary integers, `_` between
/// digits, decimal fractions.
pub(super) fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.as_bytes().first()? {
        b'-' => (-1, &plain[1..]),
        b'+' => (1, &plain[1..]),
        _ => (1, plain.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = |prefix: &str, radix| {
        lower.strip_prefix(prefix).map(|rest| i64::from_str_radix(rest, radix).ok())
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8)) {
        return value.map(|value| Value::Int(sign * value));
    }
    if !lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        return i64::from_str_radix(&lower, 8).ok().map(|value| Value::Int(sign * value));
    }
    match lower.parse::<i64>() {
        Ok(value) => Some(Value::Int(sign * value)),
        Err(_) => {
            let value: f64 = lower.parse().ok()?;
            Some(Value::Float(if sign < 0 { -value } else { value }))
        }
    }
}

/// The content of a quoted string or character with its escapes resolved.
fn unquote(text: &str) -> Option<String> {
    let mut chars = text.get(1..text.len().checked_sub(1)?)?.chars();
    let mut out = Vec::new();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let simple = match chars.next()? {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'v' => 11,
            c @ ('\\' | '"' | '\'') => u8::try_from(c).ok()?,
            'x' => u8::try_from(code(&mut chars, 2, 16)?).ok()?,
            'u' => {
                push_char(&mut out, code(&mut chars, 4, 16)?)?;
                continue;
            }
            'U' => {
                push_char(&mut out, code(&mut chars, 8, 16)?)?;
                continue;
            }
            c @ '0'..='7' => {
                let rest = code(&mut chars, 2, 8)?;
                u8::try_from(c.to_digit(8)? * 64 + rest).ok()?
            }
            _ => return None,
        };
        out.push(simple);
    }
    String::from_utf8(out).ok()
}

fn code(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32) -> Option<u32> {
    (0..digits)
        .try_fold(0u32, |value, _| Some(value.checked_mul(radix)? + chars.next()?.to_digit(radix)?))
}

fn push_char(out: &mut Vec<u8>, code: u32) -> Option<()> {
    out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}
