//! Rules: who may do what where.

use super::glob::Glob;

/// What may be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read.
    Pull,
    /// Write, and replace tags.
    Push,
    /// Delete tags, manifests and blobs.
    Delete,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody, known or not.
    Everyone,
    /// Every user.
    Users,
    /// One user.
    User(String),
}

/// One rule. What no rule allows is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Repositories it is about.
    pub repositories: Vec<Glob>,
    /// Whom it is about.
    pub who: Vec<Who>,
    /// What it allows.
    pub actions: Vec<Action>,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// `pull`, `push` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

impl Who {
    fn is(&self, user: Option<&str>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Users => user.is_some(),
            Self::User(name) => user == Some(name),
        }
    }
}

impl Rule {
    /// Whether it lets `user` do `action` in `repository`.
    pub fn allows(&self, user: Option<&str>, repository: &str, action: Action) -> bool {
        self.actions.contains(&action)
            && self.who.iter().any(|who| who.is(user))
            && self.repositories.iter().any(|glob| glob.matches(repository))
    }
}
