//! `<<name`

use super::{Wrong, words};
use crate::instruction::Heredoc;
use crate::shell::{Lexer, Nothing};

/// How many one instruction may have.
const MAX: usize = 1000;

/// The heredocs, still empty, that an instruction asks for.
pub(super) fn wanted(keyword: &str, rest: &str) -> Result<Vec<Heredoc>, Wrong> {
    if !rest.contains("<<") || !takes_heredocs(keyword, rest) {
        return Ok(Vec::new());
    }
    // Quotes that do not close are for the shell that runs it to complain about.
    let Ok(expanded) = Lexer::for_words().expand(rest, &Nothing) else { return Ok(Vec::new()) };
    let found: Vec<Heredoc> = expanded.words.iter().filter_map(|word| parse(word)).collect();
    if found.len() > MAX {
        return Err(Wrong::new(format_args!("more than {MAX} heredocs in one instruction")));
    }
    Ok(found)
}

/// Only some instructions have them, and never in their JSON form.
fn takes_heredocs(keyword: &str, rest: &str) -> bool {
    match keyword.to_ascii_uppercase().as_str() {
        "ADD" | "COPY" | "RUN" => !matches!(words::json(rest), Ok(Some(_))),
        "ONBUILD" => {
            let (inner, rest) = words::keyword(rest);
            !inner.eq_ignore_ascii_case("ONBUILD") && takes_heredocs(inner, rest)
        }
        _ => false,
    }
}

/// Reads `3<<-'name'`; `None` if the word is none.
pub(crate) fn parse(word: &str) -> Option<Heredoc> {
    let (descriptor, rest) = word.split_once("<<")?;
    let descriptor = match descriptor {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = single(Lexer::for_delimiter(), rest)?;
    let quoted = single(Lexer::for_quoted_delimiter(), rest)?;
    let expand = name == quoted;
    Some(Heredoc { name, data: String::new(), expand, chomp, descriptor })
}

/// The one word that `text` is.
fn single(lexer: Lexer, text: &str) -> Option<String> {
    match lexer.expand(text, &Nothing).ok()?.words.as_slice() {
        [word] => Some(word.clone()),
        _ => None,
    }
}

/// A body without the tabs at the start of its lines.
pub(crate) fn chomp(data: &str) -> String {
    data.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
