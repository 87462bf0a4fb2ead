//! Signing in with an identity provider (`OpenID` Connect Core 1.0, authorization code flow with PKCE).
//!
//! Everything that binds a sign-in to the browser that began it (state, nonce, PKCE verifier) is derived
//! from one cookie, so nothing is kept here that a flood of visitors could fill or push out. What the
//! provider says of itself is read when it is needed, at most once in a while.

mod claims;
mod flow;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, StandardErrorResponse, StandardTokenResponse, TokenResponse as _,
};
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use self::claims::Extra;
pub use self::claims::GroupRole;
pub(super) use self::claims::Vouched;
pub(super) use self::flow::Flow;
use crate::fetch::{Fetch, Target};

/// Where the provider sends browsers back to.
pub(super) const CALLBACK: &str = "/sign-in/callback";
/// How long what a provider says of itself is taken for true; its keys change rarely.
const FRESH: Duration = Duration::from_mins(10);
/// A key that is unknown is looked for again, but not more often than this.
const LOOKED_AGAIN: Duration = Duration::from_secs(10);
/// For so long a provider that could not be used is not asked again.
const AWAY: Duration = Duration::from_secs(3);
/// For one exchange with the provider.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer of a provider: a hundred keys and a token with a thousand groups fit.
const MAX_ANSWER: usize = 1 << 20;

type Fields =
    IdTokenFields<Extra, EmptyExtraTokenFields, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Client = openidconnect::Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Asymmetric ones only: a client secret is no key to vouch for people with.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What the configuration says of a provider.
pub struct Settings {
    /// The issuer, exactly as it names itself.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// And what proves it; none for a public client.
    pub client_secret: Option<Zeroizing<String>>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// What the button says.
    pub label: String,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// Roles by group; empty: roles are given here, and an invitation lets people in.
    pub groups: Vec<GroupRole>,
}

/// An identity provider.
pub struct Provider {
    settings: Settings,
    http: Http,
    known: Mutex<Option<(Instant, Result<CoreProviderMetadata, String>)>>,
}

/// The way to the provider.
struct Http(Fetch);

/// Why nobody was signed in. Told to the log; the browser hears less.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// It cannot be reached, or says nothing that can be used.
    #[error("the identity provider cannot be used: {0}")]
    Unusable(String),
    /// What came back is not of a sign-in that this browser began.
    #[error("this sign-in was not begun here, or too long ago")]
    NotBegun,
    /// It refused.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// Its token is not what it should be.
    #[error("the identity provider's token is refused: {0}")]
    Token(String),
}

impl Provider {
    /// The provider of `settings`, reached by `fetch`.
    pub fn new(settings: Settings, fetch: Fetch) -> Self {
        Self { settings, http: Http(fetch), known: Mutex::default() }
    }

    /// What the button says.
    pub(super) fn label(&self) -> &str {
        &self.settings.label
    }

    /// Where to send a browser that begins `flow`. `base` is how links to us begin.
    pub(super) async fn begin(&self, base: &str, flow: &Flow) -> Result<Url, ProviderError> {
        let client = self.client(base, self.metadata(FRESH).await?)?;
        let (state, nonce) = (CsrfToken::new(flow.state()), Nonce::new(flow.nonce()));
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(flow.verifier()));
        let request = client.authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state, move || nonce);
        let scopes = self.settings.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        Ok(request.add_scopes(scopes).set_pkce_challenge(challenge).url().0)
    }

    /// Whom the provider vouches for with `code`.
    pub(super) async fn finish(&self, base: &str, flow: &Flow, code: String) -> Result<Vouched, ProviderError> {
        let client = self.client(base, self.metadata(FRESH).await?)?;
        let exchange = client.exchange_code(AuthorizationCode::new(code)).map_err(|fault| unusable(&fault))?;
        let exchange = exchange.set_pkce_verifier(PkceCodeVerifier::new(flow.verifier())).request_async(&self.http);
        // What the library tells of a request holds neither code nor secret; of an answer it may hold anything.
        let answer = exchange.await.map_err(|fault| match fault {
            openidconnect::RequestTokenError::ServerResponse(told) => ProviderError::Refused(told.error().to_string()),
            openidconnect::RequestTokenError::Request(fault) => unusable(&fault),
            _ => ProviderError::Unusable("its answer cannot be read".to_owned()),
        })?;
        let token = answer.id_token().ok_or_else(|| ProviderError::Token("there is none".to_owned()))?;
        let nonce = Nonce::new(flow.nonce());
        let verify = |client: &Client| token.claims(&client.id_token_verifier().set_allowed_algs(ALGORITHMS), &nonce).cloned();
        let claims = match verify(&client) {
            // It may have new keys.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                verify(&self.client(base, self.metadata(LOOKED_AGAIN).await?)?)
            }
            other => other,
        };
        let claims = claims.map_err(|fault| ProviderError::Token(told(&fault)))?;
        claims::vouched(&self.settings, &claims)
    }

    fn client(&self, base: &str, metadata: CoreProviderMetadata) -> Result<Client, ProviderError> {
        let redirect = RedirectUrl::new(format!("{base}{CALLBACK}")).map_err(|fault| unusable(&fault))?;
        let secret = self.settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.to_string()));
        let id = ClientId::new(self.settings.client_id.clone());
        Ok(Client::from_provider_metadata(metadata, id, secret).set_redirect_uri(redirect))
    }

    /// What the provider says of itself, as of at most `age` ago. One at a time looks.
    async fn metadata(&self, age: Duration) -> Result<CoreProviderMetadata, ProviderError> {
        let mut known = self.known.lock().await;
        match &*known {
            Some((at, Ok(metadata))) if at.elapsed() < age => return Ok(metadata.clone()),
            // Whoever comes meanwhile need not wait for the same.
            Some((at, Err(fault))) if at.elapsed() < AWAY => return Err(ProviderError::Unusable(fault.clone())),
            _ => {}
        }
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(|fault| unusable(&fault))?;
        let found = CoreProviderMetadata::discover_async(issuer, &self.http).await.map_err(|fault| innermost(&fault));
        *known = Some((Instant::now(), found.clone()));
        found.map_err(ProviderError::Unusable)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, std::io::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.exchange(request))
    }
}

impl Http {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, std::io::Error> {
        let other = |fault: &dyn std::fmt::Display| std::io::Error::other(fault.to_string());
        let url = Url::parse(&request.uri().to_string()).map_err(|fault| other(&fault))?;
        let target = Target::of(&url).map_err(|fault| other(&fault))?;
        let (mut head, content) = request.into_parts();
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        head.uri = path.parse().map_err(|fault: http::uri::InvalidUri| other(&fault))?;
        let request = http::Request::from_parts(head, Full::new(Bytes::from(content)));
        let answered = tokio::time::timeout(PATIENCE, self.0.send(&target, request, MAX_ANSWER)).await;
        let response = answered.map_err(|_| other(&"it does not answer"))?.map_err(|fault| other(&fault))?;
        Ok(response.map(|content| content.to_vec()))
    }
}

fn unusable(fault: &dyn std::error::Error) -> ProviderError {
    ProviderError::Unusable(innermost(fault))
}

fn innermost(fault: &dyn std::error::Error) -> String {
    // The innermost cause says what to do.
    let mut cause: &dyn std::error::Error = fault;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What is wrong with a token, without what stands in it.
fn told(fault: &ClaimsVerificationError) -> String {
    match fault {
        ClaimsVerificationError::Expired(_) => "it is over",
        ClaimsVerificationError::InvalidAudience(_) => "it is for somebody else",
        ClaimsVerificationError::InvalidIssuer(_) => "it is of another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "it is of another sign-in",
        ClaimsVerificationError::SignatureVerification(_) => "its signature is not the provider's",
        _ => "it is not as it should be",
    }
    .to_owned()
}

/// Shared by all that ask.
pub type SharedProvider = Option<Arc<Provider>>;
