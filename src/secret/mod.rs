//! What a secret is made of, as parsed types: a name, a value, the domains it may go to and the
//! limits of its use. A value of one of these types is right; nothing here does io.

mod domain;
mod limits;
mod name;
mod value;

pub use domain::{AllowedDomains, DomainPattern, DomainPatternError};
pub use limits::{Limits, Surface, Surfaces, UnknownSurface};
pub use name::{
    Description, DescriptionError, MAX_NAME, NameError, NamePattern, OrganizationName, RunnerName, SecretName, TokenName,
    is_name_byte,
};
pub use value::{MAX_VALUE, SecretValue, ValueError, line_end};
