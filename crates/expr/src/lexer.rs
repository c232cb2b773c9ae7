//! Splits an expression into tokens. Every token is checked on its own here
//! (numbers, quotes, legal names); how they fit together is the parser's
//! concern.

use std::sync::Arc;

use crate::MAX_LENGTH;
use crate::coerce::text_to_number;
use crate::error::{ErrorKind, ExprError, Source};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Star,
    Not,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    Null,
    True,
    False,
    Number(f64),
    String(Arc<str>),
    Name,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    /// Byte range in the expression's own text.
    pub(crate) start: usize,
    end: usize,
}

impl Token {
    pub(crate) fn raw<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

pub(crate) fn tokenize(source: Source<'_>) -> Result<Vec<Token>, ExprError> {
    // A byte never makes more than one UTF-16 unit, so most texts pass
    // without counting.
    if source.text.len() > MAX_LENGTH && source.text.encode_utf16().count() > MAX_LENGTH {
        return Err(ExprError {
            kind: ErrorKind::Lexing,
            message: format!("Exceeded max expression length {MAX_LENGTH}"),
            position: source.offset,
        });
    }
    let mut lexer = Lexer { source, position: 0, tokens: Vec::new() };
    while lexer.next_token()? {}
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: Source<'a>,
    position: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.source.text[self.position..].chars().next()
    }

    fn next_token(&mut self) -> Result<bool, ExprError> {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.position += c.len_utf8();
        }
        let Some(first) = self.peek() else {
            return Ok(false);
        };
        let start = self.position;
        self.position += first.len_utf8();
        let kind = match first {
            '(' => TokenKind::OpenParen,
            ')' => TokenKind::CloseParen,
            '[' => TokenKind::OpenBracket,
            ']' => TokenKind::CloseBracket,
            ',' => TokenKind::Comma,
            '*' => TokenKind::Star,
            '.' if self.dot_dereferences() => TokenKind::Dot,
            '.' | '+' | '-' | '0'..='9' => self.number(start)?,
            '\'' => self.string(start)?,
            '!' => self.either('=', TokenKind::NotEqual, TokenKind::Not),
            '<' => self.either('=', TokenKind::LessEqual, TokenKind::Less),
            '>' => self.either('=', TokenKind::GreaterEqual, TokenKind::Greater),
            '=' if self.take('=') => TokenKind::Equal,
            '&' if self.take('&') => TokenKind::And,
            '|' if self.take('|') => TokenKind::Or,
            _ => self.word(start)?,
        };
        self.tokens.push(Token { kind, start, end: self.position });
        Ok(true)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    fn either(&mut self, second: char, long: TokenKind, short: TokenKind) -> TokenKind {
        if self.take(second) { long } else { short }
    }

    /// A dot after something that has properties takes one of them; anywhere
    /// else it begins a number such as `.5`.
    fn dot_dereferences(&self) -> bool {
        matches!(
            self.tokens.last().map(|token| &token.kind),
            Some(TokenKind::Name | TokenKind::CloseBracket | TokenKind::CloseParen | TokenKind::Star)
        )
    }

    fn number(&mut self, start: usize) -> Result<TokenKind, ExprError> {
        self.skip_to_boundary(|c| c == '.');
        let number = text_to_number(&self.source.text[start..self.position]);
        if number.is_nan() {
            return Err(self.unexpected(start));
        }
        Ok(TokenKind::Number(number))
    }

    fn string(&mut self, start: usize) -> Result<TokenKind, ExprError> {
        let mut value = String::new();
        loop {
            let rest = &self.source.text[self.position..];
            let Some(quote) = rest.find('\'') else {
                self.position = self.source.text.len();
                return Err(self.unexpected(start));
            };
            value.push_str(&rest[..quote]);
            self.position += quote + 1;
            if !self.take('\'') {
                return Ok(TokenKind::String(value.into()));
            }
            value.push('\'');
        }
    }

    fn word(&mut self, start: usize) -> Result<TokenKind, ExprError> {
        self.skip_to_boundary(|_| false);
        let word = &self.source.text[start..self.position];
        if !is_name(word) {
            return Err(self.unexpected(start));
        }
        // Behind a dot every word is a property, even `true`.
        if matches!(self.tokens.last().map(|token| &token.kind), Some(TokenKind::Dot)) {
            return Ok(TokenKind::Name);
        }
        Ok(match word {
            "null" => TokenKind::Null,
            "true" => TokenKind::True,
            "false" => TokenKind::False,
            "NaN" => TokenKind::Number(f64::NAN),
            "Infinity" => TokenKind::Number(f64::INFINITY),
            _ => TokenKind::Name,
        })
    }

    fn skip_to_boundary(&mut self, also: impl Fn(char) -> bool) {
        while let Some(c) = self.peek().filter(|&c| also(c) || !is_boundary(c)) {
            self.position += c.len_utf8();
        }
    }

    fn unexpected(&self, start: usize) -> ExprError {
        let raw = &self.source.text[start..self.position];
        ExprError::located(ErrorKind::Lexing, "Unexpected symbol", raw, self.source, start)
    }
}

fn is_boundary(c: char) -> bool {
    matches!(c, '(' | ')' | '[' | ']' | ',' | '.' | '!' | '<' | '>' | '=' | '&' | '|') || c.is_whitespace()
}

/// `[A-Za-z_][A-Za-z0-9_-]*`
pub(crate) fn is_name(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
