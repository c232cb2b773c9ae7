//! Builds the tree from tokens by recursive descent. Depth is bounded before
//! the stack is: both the nesting of the text and the height of the tree are
//! held to the limit.

use std::sync::Arc;

use crate::MAX_DEPTH;
use crate::ast::{Comparison, Key, Name, Node};
use crate::error::{ErrorKind, ExprError, Source};
use crate::functions::{self, Builtin, FunctionSignature};
use crate::lexer::{Token, TokenKind, tokenize};
use crate::value::Value;

/// The names that an expression may use beyond the built-in functions.
#[derive(Clone, Copy)]
pub(crate) struct Allowed<'a> {
    pub(crate) contexts: &'a [&'a str],
    pub(crate) functions: &'a [FunctionSignature<'a>],
}

impl Allowed<'_> {
    pub(crate) fn has_context(&self, name: &str) -> bool {
        self.contexts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    pub(crate) fn arity(&self, name: &str) -> Option<(usize, usize)> {
        self.functions
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(name))
            .map(|&(_, min, max)| (min, max))
    }
}

/// A tree and what it refers to, in order of appearance.
pub(crate) struct Parsed {
    /// None for a text without any token.
    pub(crate) root: Option<Node>,
    pub(crate) contexts: Vec<Name>,
    pub(crate) calls: Vec<(Name, usize)>,
}

/// Parses a text. With `allowed` given, unknown names are errors, found in the
/// order in which GitHub finds them.
pub(crate) fn parse(source: Source<'_>, allowed: Option<Allowed<'_>>) -> Result<Parsed, ExprError> {
    let tokens = tokenize(source)?;
    let mut parser = Parser {
        source,
        tokens: &tokens,
        next: 0,
        depth: 0,
        allowed,
        contexts: Vec::new(),
        calls: Vec::new(),
    };
    let mut root = None;
    if !tokens.is_empty() {
        root = Some(parser.expression()?.node);
        if let Some(token) = parser.peek() {
            return Err(ExprError::at_token("Unexpected symbol", token, source));
        }
    }
    Ok(Parsed { root, contexts: parser.contexts, calls: parser.calls })
}

struct Parser<'a> {
    source: Source<'a>,
    tokens: &'a [Token],
    next: usize,
    /// How deep the text is nested at this point.
    depth: usize,
    allowed: Option<Allowed<'a>>,
    contexts: Vec<Name>,
    calls: Vec<(Name, usize)>,
}

/// A subtree and its height; a leaf has height one.
struct Tree {
    node: Node,
    height: usize,
    /// Whether an index may follow.
    indexable: bool,
}

impl Tree {
    fn leaf(node: Node) -> Self {
        Self { node, height: 1, indexable: false }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    fn peek_kind(&self) -> Option<&'a TokenKind> {
        self.peek().map(|token| &token.kind)
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek_kind() == Some(kind);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, kind: &TokenKind) -> Result<(), ExprError> {
        if self.take(kind) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> ExprError {
        match (self.peek(), self.tokens.last()) {
            (Some(token), _) => ExprError::at_token("Unexpected symbol", token, self.source),
            (None, Some(last)) => ExprError::at_token("Unexpected end of expression", last, self.source),
            (None, None) => ExprError {
                kind: ErrorKind::Parsing,
                message: "Unexpected end of expression".to_owned(),
                position: self.source.offset,
            },
        }
    }

    fn too_deep(&self) -> ExprError {
        let what = format!("Exceeded max expression depth {MAX_DEPTH}");
        let token = self.peek().or(self.tokens.last());
        token.map_or_else(|| self.unexpected(), |token| ExprError::at_token(&what, token, self.source))
    }

    fn descend(&mut self) -> Result<(), ExprError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        Ok(())
    }

    fn grown(&self, node: Node, children: usize) -> Result<Tree, ExprError> {
        let height = children + 1;
        if height > MAX_DEPTH {
            return Err(self.too_deep());
        }
        Ok(Tree { node, height, indexable: false })
    }

    fn expression(&mut self) -> Result<Tree, ExprError> {
        self.descend()?;
        let tree = self.or()?;
        self.depth -= 1;
        Ok(tree)
    }

    fn or(&mut self) -> Result<Tree, ExprError> {
        self.chain(&TokenKind::Or, Self::and, Node::Or, |node| match node {
            Node::Or(operands) => Ok(operands),
            other => Err(other),
        })
    }

    fn and(&mut self) -> Result<Tree, ExprError> {
        self.chain(&TokenKind::And, Self::equality, Node::And, |node| match node {
            Node::And(operands) => Ok(operands),
            other => Err(other),
        })
    }

    /// `a && b && c` is one node with three operands, also when some of them
    /// were grouped: that keeps long chains shallow.
    fn chain(
        &mut self,
        operator: &TokenKind,
        operand: fn(&mut Self) -> Result<Tree, ExprError>,
        build: fn(Vec<Node>) -> Node,
        flatten: fn(Node) -> Result<Vec<Node>, Node>,
    ) -> Result<Tree, ExprError> {
        let first = operand(self)?;
        if self.peek_kind() != Some(operator) {
            return Ok(first);
        }
        self.descend()?;
        let mut operands = Vec::new();
        let mut height = 0;
        let mut add = |tree: Tree| match flatten(tree.node) {
            Ok(nested) => {
                height = height.max(tree.height - 1);
                operands.extend(nested);
            }
            Err(node) => {
                height = height.max(tree.height);
                operands.push(node);
            }
        };
        add(first);
        while self.take(operator) {
            add(operand(self)?);
        }
        self.depth -= 1;
        self.grown(build(operands), height)
    }

    fn equality(&mut self) -> Result<Tree, ExprError> {
        self.comparisons(Self::relation, |kind| match kind {
            TokenKind::Equal => Some(Comparison::Equal),
            TokenKind::NotEqual => Some(Comparison::NotEqual),
            _ => None,
        })
    }

    fn relation(&mut self) -> Result<Tree, ExprError> {
        self.comparisons(Self::unary, |kind| match kind {
            TokenKind::Less => Some(Comparison::Less),
            TokenKind::LessEqual => Some(Comparison::LessEqual),
            TokenKind::Greater => Some(Comparison::Greater),
            TokenKind::GreaterEqual => Some(Comparison::GreaterEqual),
            _ => None,
        })
    }

    fn comparisons(
        &mut self,
        operand: fn(&mut Self) -> Result<Tree, ExprError>,
        operator: fn(&TokenKind) -> Option<Comparison>,
    ) -> Result<Tree, ExprError> {
        let mut left = operand(self)?;
        while let Some(comparison) = self.peek_kind().and_then(operator) {
            self.next += 1;
            let right = operand(self)?;
            let height = left.height.max(right.height);
            let node = Node::Compare(comparison, Box::new(left.node), Box::new(right.node));
            left = self.grown(node, height)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Tree, ExprError> {
        if !self.take(&TokenKind::Not) {
            return self.index();
        }
        self.descend()?;
        let operand = self.unary()?;
        self.depth -= 1;
        self.grown(Node::Not(Box::new(operand.node)), operand.height)
    }

    fn index(&mut self) -> Result<Tree, ExprError> {
        let mut tree = self.primary()?;
        let depth = self.depth;
        while tree.indexable {
            let (key, key_height) = if self.take(&TokenKind::OpenBracket) {
                let key = if self.take(&TokenKind::Star) {
                    (Key::Star, 1)
                } else {
                    let key = self.expression()?;
                    match key.node {
                        Node::Literal(Value::String(name)) => (Key::Name(name), 1),
                        node => (Key::Computed(Box::new(node)), key.height),
                    }
                };
                self.expect(&TokenKind::CloseBracket)?;
                key
            } else if self.take(&TokenKind::Dot) {
                if self.take(&TokenKind::Star) {
                    (Key::Star, 1)
                } else if let Some(token) = self.peek().filter(|token| token.kind == TokenKind::Name) {
                    self.next += 1;
                    (Key::Name(token.raw(self.source.text).into()), 1)
                } else {
                    return Err(self.unexpected());
                }
            } else {
                break;
            };
            self.descend()?;
            let height = tree.height.max(key_height);
            tree = self.grown(Node::Index(Box::new(tree.node), key), height)?;
            tree.indexable = true;
        }
        self.depth = depth;
        Ok(tree)
    }

    fn primary(&mut self) -> Result<Tree, ExprError> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected());
        };
        let value = match &token.kind {
            TokenKind::Null => Value::Null,
            TokenKind::True => Value::Bool(true),
            TokenKind::False => Value::Bool(false),
            TokenKind::Number(number) => Value::Number(*number),
            TokenKind::String(text) => Value::String(Arc::clone(text)),
            TokenKind::Name => return self.name(token),
            TokenKind::OpenParen => {
                self.next += 1;
                let mut tree = self.expression()?;
                self.expect(&TokenKind::CloseParen)?;
                tree.indexable = true;
                return Ok(tree);
            }
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(Tree::leaf(Node::Literal(value)))
    }

    fn name(&mut self, token: &Token) -> Result<Tree, ExprError> {
        self.next += 1;
        let text = token.raw(self.source.text);
        let name = Name {
            text: text.into(),
            lower: text.to_ascii_lowercase().into(),
            at: self.source.offset + token.start,
        };
        let tree = if self.take(&TokenKind::OpenParen) {
            self.call(name, token)?
        } else {
            if self.allowed.is_some_and(|allowed| !allowed.has_context(text)) {
                return Err(ExprError::at_token("Unrecognized named-value", token, self.source));
            }
            self.contexts.push(name.clone());
            Tree::leaf(Node::Context(name))
        };
        Ok(Tree { indexable: true, ..tree })
    }

    /// The arguments of a call; the opening parenthesis is behind us.
    fn call(&mut self, name: Name, token: &Token) -> Result<Tree, ExprError> {
        let builtin = Builtin::from_name(&name.lower);
        let host_arity = self.allowed.and_then(|allowed| allowed.arity(&name.lower));
        if builtin.is_none() && self.allowed.is_some() && host_arity.is_none() {
            return Err(ExprError::at_token("Unrecognized function", token, self.source));
        }
        let position = self.calls.len();
        self.calls.push((name.clone(), 0));
        let mut args = Vec::new();
        let mut height = 0;
        if !self.take(&TokenKind::CloseParen) {
            loop {
                let arg = self.expression()?;
                height = height.max(arg.height);
                args.push(arg.node);
                if !self.take(&TokenKind::Comma) {
                    break;
                }
            }
            self.expect(&TokenKind::CloseParen)?;
        }
        self.calls[position].1 = args.len();
        let arity = builtin.map(Builtin::arity).or(host_arity);
        if let Some(what) = arity.and_then(|arity| functions::arity_problem(builtin, args.len(), arity)) {
            return Err(ExprError::at_token(what, token, self.source));
        }
        if let (Some(Builtin::Format), Some(Node::Literal(Value::String(format)))) = (builtin, args.first()) {
            // A format that is spelled out can be judged without any value.
            if let Err(what) = functions::check_format(format, args.len() - 1) {
                return Err(ExprError::at_token(&what, token, self.source));
            }
        }
        self.grown(Node::Call { builtin, name, args }, height)
    }
}
