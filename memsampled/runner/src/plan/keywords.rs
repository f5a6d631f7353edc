//! An expression of parts of names: what `-k` takes, as that of pytest.

use std::fmt;
use std::str::FromStr;

/// Deeper than anybody writes, and far from the end of the stack.
const MAX_DEPTH: u32 = 64;

/// An expression of parts of names with `and`, `or`, `not` and parentheses: `net and not (slow or "round trip")`.
///
/// A word matches a name that contains it, whatever the case of its letters. A part with blanks or parentheses, and one
/// that is called as an operator, stands in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keywords(Expression);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    /// In lower case.
    Part(String),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

/// Why an expression cannot be understood, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeywordsError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Part(String),
}

impl Keywords {
    /// Returns whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(&name.to_lowercase())
    }
}

impl Expression {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Part(part) => name.contains(part),
            Self::Not(of) => !of.matches(name),
            Self::And(left, right) => left.matches(name) && right.matches(name),
            Self::Or(left, right) => left.matches(name) || right.matches(name),
        }
    }
}

impl FromStr for Keywords {
    type Err = KeywordsError;

    fn from_str(text: &str) -> Result<Self, KeywordsError> {
        let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable() };
        let expression = parser.or(0)?;
        match parser.tokens.next() {
            None => Ok(Self(expression)),
            Some(Token::Close) => Err(KeywordsError("a `)` has no `(`".to_owned())),
            Some(token) => Err(KeywordsError(format!(
                "before {token} there must be `and` or `or`; a part with a blank stands in quotes"
            ))),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, KeywordsError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let behind = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                behind
            }
            '"' | '\'' => {
                let Some((part, behind)) = behind.split_once(first) else {
                    return Err(KeywordsError(format!("a quote {first} is not closed")));
                };
                tokens.push(Token::Part(part.to_lowercase()));
                behind
            }
            _ => {
                let end = rest.find(|char: char| char.is_whitespace() || "()".contains(char));
                let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
                tokens.push(match word {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    part => Token::Part(part.to_lowercase()),
                });
                behind
            }
        }
        .trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn or(&mut self, depth: u32) -> Result<Expression, KeywordsError> {
        let mut left = self.and(depth)?;
        while self.tokens.next_if_eq(&Token::Or).is_some() {
            left = Expression::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: u32) -> Result<Expression, KeywordsError> {
        let mut left = self.not(depth)?;
        while self.tokens.next_if_eq(&Token::And).is_some() {
            left = Expression::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: u32) -> Result<Expression, KeywordsError> {
        if depth > MAX_DEPTH {
            return Err(KeywordsError(format!("it is nested more than {MAX_DEPTH} deep")));
        }
        match self.tokens.next() {
            Some(Token::Not) => Ok(Expression::Not(Box::new(self.not(depth + 1)?))),
            Some(Token::Open) => {
                let inner = self.or(depth + 1)?;
                match self.tokens.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err(KeywordsError("a `(` is not closed".to_owned())),
                }
            }
            Some(Token::Part(part)) => Ok(Expression::Part(part)),
            Some(token) => {
                Err(KeywordsError(format!("a part of a name is missing before {token}")))
            }
            None => Err(KeywordsError("a part of a name is missing at the end".to_owned())),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("`(`"),
            Self::Close => f.write_str("`)`"),
            Self::And => f.write_str("`and`"),
            Self::Or => f.write_str("`or`"),
            Self::Not => f.write_str("`not`"),
            Self::Part(part) => write!(f, "`{part}`"),
        }
    }
}

impl fmt::Display for KeywordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeywordsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_means_what_it_means_to_pytest() {
        let names = ["net/ping", "net/round trip", "disk/slow", "Net/slow", "and"];
        let cases: [(&str, &[usize]); 10] = [
            ("net", &[0, 1, 3]),
            ("NET and not slow", &[0, 1]),
            ("net and slow or ping", &[0, 3]),
            ("net and (slow or ping)", &[0, 3]),
            ("not net", &[2, 4]),
            ("not not disk", &[2]),
            ("not(slow)and net", &[0, 1]),
            ("'round trip'", &[1]),
            ("\"and\"", &[4]),
            ("''", &[0, 1, 2, 3, 4]),
        ];
        for (text, expected) in cases {
            let keywords: Keywords = text.parse().unwrap();
            let matching = (0..names.len()).filter(|&index| keywords.matches(names[index]));
            assert_eq!(matching.collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_says_why() {
        let cases = [
            ("", "a part of a name is missing at the end"),
            ("a and", "a part of a name is missing at the end"),
            ("or b", "a part of a name is missing before `or`"),
            ("(a", "a `(` is not closed"),
            ("a)", "a `)` has no `(`"),
            ("'a", "a quote ' is not closed"),
            (
                "round trip",
                "before `trip` there must be `and` or `or`; a part with a blank stands in quotes",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Keywords>().unwrap_err().to_string(), expected, "{text}");
        }
        let deep = "(".repeat(100_000);
        assert!(deep.parse::<Keywords>().unwrap_err().to_string().contains("nested"));
        assert!("not ".repeat(100_000).parse::<Keywords>().is_err());
    }
}
