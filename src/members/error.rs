//! Why nothing was done: each fault with its cure, and a word for scripts.

use std::time::Duration;

use super::{Login, PasswordError};
use crate::ledger::LedgerError;
use crate::seal::SealError;
use crate::secret::OrganizationName;
use crate::store::StoreError;

/// Why the members' room did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// There is no such organization.
    #[error("there is no organization called `{0}`")]
    NoOrganization(OrganizationName),
    /// The name is taken.
    #[error("an organization called `{0}` exists already; choose another name")]
    OrganizationTaken(OrganizationName),
    /// `default`, or one that the configuration names.
    #[error("the organization `{0}` always exists; it cannot be deleted")]
    OrganizationStays(OrganizationName),
    /// It holds something.
    #[error("the organization `{0}` still holds secrets or runners; delete those first")]
    OrganizationHolds(OrganizationName),
    /// No such member.
    #[error("`{0}` is no member of this organization")]
    NoMember(Login),
    /// Invited although a member.
    #[error("`{0}` is a member of this organization already; change the role instead")]
    AlreadyMember(Login),
    /// Nobody could administer any more.
    #[error("`{0}` is the last administrator of this organization; make somebody else one first")]
    LastAdministrator(Login),
    /// Roles come from elsewhere.
    #[error("the roles of `{0}` come from the groups of the identity provider; change them there")]
    RoleFromProvider(Login),
    /// No such invitation.
    #[error("there is no open invitation for `{0}`")]
    NoInvitation(Login),
    /// Invited twice.
    #[error("`{0}` is invited already; revoke that invitation to make another")]
    AlreadyInvited(Login),
    /// No such token.
    #[error("there is no token called `{0}`")]
    NoToken(String),
    /// The token's name is taken.
    #[error("a token called `{0}` exists already; revoke it, or choose another name")]
    TokenTaken(String),
    /// A token that lives for too long or no time.
    #[error("a token lives for an hour at least and a year at most")]
    Lifetime,
    /// A link that is used up, late, revoked or never was.
    #[error("this link is not valid, or no longer; it works once and for a limited time, so ask for a new one")]
    LinkInvalid,
    /// Wrong login or password; nothing says which.
    #[error("the login or the password is wrong")]
    WrongPassword,
    /// Too many wrong ones.
    #[error("there were too many attempts; try again in {}", humantime::format_duration(Duration::from_secs(.0.as_secs().max(1))))]
    TooMany(Duration),
    /// An account that signs in elsewhere, or another's login.
    #[error("`{0}` is the login of another account; an administrator can remove that one")]
    LoginTaken(Login),
    /// The password cannot be taken.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The account has none.
    #[error("this account signs in with the identity provider and has no password here")]
    NoPassword,
    /// It has no membership in anything.
    #[error(
        "the identity provider knows you, and nothing here is open to you; ask an administrator for a group or an invitation"
    )]
    NoRole,
    /// No such session.
    #[error("there is no such session")]
    NoSession,
    /// Somebody else changed it meanwhile.
    #[error("somebody changed it meanwhile; read it again, and make the change from its present revision")]
    Stale,
    /// A bound on how many there may be.
    #[error("there are {0} already, which is the most there may be; remove some first")]
    TooManyRecords(usize),
    /// More passwords to check than this machine can.
    #[error("too many sign-ins at a time; try again in a moment")]
    Busy,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl MembersError {
    /// The word for it, fixed for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoOrganization(_) => "organization_not_found",
            Self::OrganizationTaken(_) | Self::TokenTaken(_) => "name_taken",
            Self::OrganizationStays(_) => "declared_read_only",
            Self::OrganizationHolds(_) => "organization_not_empty",
            Self::NoMember(_) => "member_not_found",
            Self::AlreadyMember(_) => "already_member",
            Self::LastAdministrator(_) => "last_administrator",
            Self::RoleFromProvider(_) => "role_from_provider",
            Self::NoInvitation(_) => "invitation_not_found",
            Self::AlreadyInvited(_) => "already_invited",
            Self::NoToken(_) => "token_not_found",
            Self::Lifetime | Self::Password(_) => "invalid_field",
            Self::LinkInvalid => "link_invalid",
            Self::WrongPassword => "sign_in_failed",
            Self::TooMany(_) => "too_many_attempts",
            Self::LoginTaken(_) => "login_taken",
            Self::NoPassword => "no_password",
            Self::NoRole => "no_role",
            Self::NoSession => "session_not_found",
            Self::Stale => "revision_stale",
            Self::TooManyRecords(_) => "too_many",
            Self::Busy => "overloaded",
            Self::Store(_) | Self::Ledger(_) => "store_unavailable",
        }
    }
}

impl From<LedgerError> for MembersError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            LedgerError::Stale => Self::Stale,
            other => Self::Ledger(other),
        }
    }
}

impl From<SealError> for MembersError {
    fn from(error: SealError) -> Self {
        Self::Ledger(error.into())
    }
}
