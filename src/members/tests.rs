//! Who is let in, who is known, and from when on no longer.

mod fleet;

use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::*;
use crate::seal::{KeyEncryptionKey, Sealer};
use crate::secret::{Description, TokenName};
use crate::store::{self, Backend, Engine};

const PASSWORD: &str = "correct horse battery";
const START: u64 = 1_800_000_000;
const HOUR: u64 = 3_600;

/// Members over a store that survives them, at a time that the test sets.
struct World {
    members: Members,
    backend: Arc<dyn Backend>,
    seconds: Arc<AtomicU64>,
}

impl World {
    async fn new() -> Self {
        let backend = store::open(Engine::Memory).await.expect("opens");
        let seconds = Arc::new(AtomicU64::new(START));
        let members = members_over(&backend, &seconds).await;
        Self { members, backend, seconds }
    }

    async fn restarted(self) -> Self {
        let members = members_over(&self.backend, &self.seconds).await;
        Self { members, ..self }
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn set_back(&self, seconds: u64) {
        self.seconds.fetch_sub(seconds, Ordering::Relaxed);
    }

    /// Ada, the first administrator.
    async fn with_ada() -> (Self, Entered) {
        let world = Self::new().await;
        let link = world.members.offer_setup().await.expect("random").expect("nobody is there");
        let entered = world.members.set_up(link.show_once().as_bytes(), &login("ada"), typed(PASSWORD), &here()).await;
        (world, entered.expect("is set up"))
    }

    async fn join(&self, who: &str, organization: &OrganizationName, role: Role) -> Entered {
        let (_, link) = self.members.invite(organization, &login(who), role, "ada").await.expect("invites");
        self.members.accept(link.show_once().as_bytes(), typed(PASSWORD), &here()).await.expect("accepts")
    }

    async fn sign_in(&self, who: &str, password: &str) -> Result<Entered, MembersError> {
        self.members.sign_in(who, typed(password), &here()).await
    }
}

async fn members_over(backend: &Arc<dyn Backend>, seconds: &Arc<AtomicU64>) -> Members {
    let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]));
    let ledger = Ledger::open(backend.clone(), sealer).await.expect("the ledger opens");
    let seconds = seconds.clone();
    let clock = Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed)));
    Members::new(Arc::new(ledger), [], clock).expect("opens")
}

fn here() -> Visitor {
    Visitor { address: [192, 0, 2, 1].into(), agent: "a browser".into() }
}

fn typed(text: &str) -> Password {
    Password::typed(Zeroizing::new(text.to_owned()))
}

fn login(text: &str) -> Login {
    Login::parse(text).expect("a good login")
}

fn organization(text: &str) -> OrganizationName {
    OrganizationName::parse(text).expect("a good name")
}

fn known(world: &World, (token, _): &Entered) -> bool {
    world.members.by_session(token.show_once().as_bytes()).is_some()
}

fn code<T>(outcome: Result<T, MembersError>) -> &'static str {
    outcome.err().map_or("done", |error| error.code())
}

#[tokio::test]
async fn the_first_link_makes_an_administrator_once_and_within_15_minutes() {
    let world = World::new().await;
    let link = world.members.offer_setup().await.expect("random").expect("nobody is there");
    let set_up = async |token: &[u8], who: &str| code(world.members.set_up(token, &login(who), typed(PASSWORD), &here()).await);
    assert_eq!(set_up(b"guessed", "ada").await, "link_invalid");
    world.pass(15 * 60);
    assert_eq!(set_up(link.show_once().as_bytes(), "ada").await, "link_invalid");
    let next = world.members.offer_setup().await.expect("random").expect("nobody is there");
    assert_eq!(set_up(link.show_once().as_bytes(), "ada").await, "link_invalid", "only the last one counts");
    assert_eq!(set_up(next.show_once().as_bytes(), "ada").await, "done");
    assert_eq!(set_up(next.show_once().as_bytes(), "eve").await, "link_invalid");
    assert!(world.members.offer_setup().await.expect("random").is_none());
    let member = world.members.member(&home(), &login("ada")).expect("is a member");
    assert_eq!(member.role, Some(Role::Administrator));
}

#[tokio::test]
async fn a_session_is_its_person_until_it_is_idle_or_old() {
    let (world, ada) = World::with_ada().await;
    let person = world.members.by_session(ada.0.show_once().as_bytes()).expect("is known");
    assert_eq!((person.login.as_str(), person.roles.get(&home())), ("ada", Some(&Role::Administrator)));
    assert!(world.members.by_session(b"guessed").is_none());
    world.pass(8 * HOUR - 1);
    assert!(known(&world, &ada), "being asked keeps it");
    world.pass(8 * HOUR);
    assert!(!known(&world, &ada), "it was idle");
    let ada = world.sign_in("ADA ", PASSWORD).await.expect("signs in, whatever the case");
    for _ in 0..23 {
        world.pass(7 * HOUR);
        assert!(known(&world, &ada));
    }
    world.pass(7 * HOUR);
    assert!(!known(&world, &ada), "7 days are over");
    world.members.tidy().await.expect("tidies");
    assert!(world.members.sessions.all().is_empty());
}

#[tokio::test]
async fn a_session_that_began_by_a_clock_that_was_wrong_is_over() {
    let (world, ada) = World::with_ada().await;
    world.pass(365 * 24 * HOUR);
    assert!(!known(&world, &ada));
    let ahead = world.sign_in("ada", PASSWORD).await.expect("signs in at any time");
    assert!(known(&world, &ahead));
    world.set_back(365 * 24 * HOUR);
    assert!(!known(&world, &ahead), "it would live for a year");
    let now = world.sign_in("ada", PASSWORD).await.expect("signs in");
    world.set_back(60);
    assert!(known(&world, &now), "clocks are put right by moments all the time");
}

#[tokio::test]
async fn sessions_survive_a_restart_with_when_they_were_used() {
    let (world, ada) = World::with_ada().await;
    world.pass(7 * HOUR);
    assert!(known(&world, &ada));
    world.members.tidy().await.expect("tidies");
    let world = world.restarted().await;
    world.pass(7 * HOUR);
    assert!(known(&world, &ada));
}

#[tokio::test]
async fn signing_out_ends_one_session_and_a_new_password_all_others() {
    let (world, ada) = World::with_ada().await;
    let other = world.sign_in("ada", PASSWORD).await.expect("signs in");
    let third = world.sign_in("ada", PASSWORD).await.expect("signs in");
    assert_eq!(world.members.sessions(&ada.1.account).len(), 3);
    world.members.end_session(&ada.1.account, &third.1.session).await.expect("ends");
    assert!(!known(&world, &third) && known(&world, &ada) && known(&world, &other));
    let change = async |old, new| world.members.change_password(&ada.1, typed(old), typed(new), &here()).await;
    assert_eq!(code(change("wrong horse battery", "another long phrase").await), "sign_in_failed");
    assert_eq!(code(change(PASSWORD, "short").await), "invalid_field");
    let renewed = change(PASSWORD, "another long phrase").await.expect("changes");
    assert!(known(&world, &renewed) && !known(&world, &ada) && !known(&world, &other));
    assert_eq!(code(world.sign_in("ada", PASSWORD).await), "sign_in_failed");
    assert_eq!(code(world.sign_in("ada", "another long phrase").await), "done");
}

#[tokio::test]
async fn nobody_ends_the_session_of_somebody_else() {
    let (world, ada) = World::with_ada().await;
    let bob = world.join("bob", &home(), Role::Viewer).await;
    assert_eq!(code(world.members.end_session(&bob.1.account, &ada.1.session).await), "session_not_found");
    assert!(known(&world, &ada));
}

#[tokio::test]
async fn an_account_has_twenty_sessions_and_the_oldest_makes_room() {
    let (world, ada) = World::with_ada().await;
    for _ in 0..20 {
        world.pass(1);
        world.sign_in("ada", PASSWORD).await.expect("signs in");
    }
    assert_eq!(world.members.sessions(&ada.1.account).len(), 20);
    assert!(!known(&world, &ada));
}

#[tokio::test]
async fn who_does_not_exist_is_answered_like_who_mistypes() {
    let (world, _) = World::with_ada().await;
    let answer = async |who, password| world.sign_in(who, password).await.err().expect("is refused").to_string();
    let mistyped = answer("ada", "wrong").await;
    assert_eq!(answer("nobody", PASSWORD).await, mistyped);
    assert_eq!(answer("no login at all", PASSWORD).await, mistyped);
    let too_many = async |who: &str| {
        for _ in 0..5 {
            let _ = world.sign_in(who, "wrong").await;
        }
        world.sign_in(who, "wrong").await.err().expect("is refused").to_string()
    };
    let (known, unknown) = (too_many("ada").await, too_many("nobody").await);
    assert_eq!(known, unknown);
    assert!(known.contains("too many attempts"), "{known}");
    assert_eq!(code(world.sign_in("ada", PASSWORD).await), "too_many_attempts", "the right one has to wait too");
    world.pass(60);
    assert_eq!(code(world.sign_in("ada", PASSWORD).await), "done");
}

#[tokio::test]
async fn an_invitation_works_once_and_never_opens_an_account_that_exists() {
    let (world, _) = World::with_ada().await;
    let invite = async |who: &str, to: &OrganizationName| world.members.invite(to, &login(who), Role::Editor, "ada").await;
    let (view, link) = invite("bob", &home()).await.expect("invites");
    assert_eq!((view.login.as_str(), view.role), ("bob", Role::Editor));
    assert_eq!(code(invite("bob", &home()).await), "already_invited");
    assert_eq!(code(invite("ada", &home()).await), "already_member");
    assert_eq!(code(invite("bob", &organization("nowhere")).await), "organization_not_found");
    let accept = async |link: &Token, password| world.members.accept(link.show_once().as_bytes(), typed(password), &here()).await;
    assert_eq!(code(accept(&link, "short").await), "invalid_field");
    accept(&link, PASSWORD).await.expect("accepts");
    assert_eq!(code(accept(&link, PASSWORD).await), "link_invalid");
    assert!(world.members.invitations(&home()).is_empty());

    world.members.create_organization(&organization("acme"), Description::default(), "ada", None).await.expect("creates");
    let (_, link) = invite("bob", &organization("acme")).await.expect("invites");
    assert_eq!(code(accept(&link, "another long phrase").await), "sign_in_failed");
    let (_, bob) = accept(&link, PASSWORD).await.expect("accepts with the present password");
    assert_eq!(bob.roles.get(&organization("acme")), Some(&Role::Editor));
}

#[tokio::test]
async fn an_invitation_is_revoked_or_late_and_then_no_link() {
    let (world, _) = World::with_ada().await;
    let (_, revoked) = world.members.invite(&home(), &login("bob"), Role::Viewer, "ada").await.expect("invites");
    world.members.revoke_invitation(&home(), &login("bob")).await.expect("revokes");
    assert_eq!(code(world.members.revoke_invitation(&home(), &login("bob")).await), "invitation_not_found");
    let (_, late) = world.members.invite(&home(), &login("bob"), Role::Viewer, "ada").await.expect("invites again");
    world.pass(7 * 24 * HOUR);
    for link in [revoked, late] {
        assert!(world.members.invitation(link.show_once().as_bytes()).is_none());
        let accepted = world.members.accept(link.show_once().as_bytes(), typed(PASSWORD), &here()).await;
        assert_eq!(code(accepted), "link_invalid");
    }
    world.members.invite(&home(), &login("bob"), Role::Viewer, "ada").await.expect("the late one is in nobody's way");
}

#[tokio::test]
async fn a_role_that_was_taken_is_gone_at_once() {
    let (world, _) = World::with_ada().await;
    let bob = world.join("bob", &home(), Role::Administrator).await;
    let role = || world.members.by_session(bob.0.show_once().as_bytes()).map(|bob| bob.roles.get(&home()).copied());
    assert_eq!(role(), Some(Some(Role::Administrator)));
    world.members.set_role(&home(), &login("bob"), Role::Viewer, None, "ada").await.expect("changes");
    assert_eq!(role(), Some(Some(Role::Viewer)));
    world.members.remove_member(&home(), &login("bob"), None, "ada").await.expect("removes");
    assert_eq!(role(), None);
    assert_eq!(code(world.sign_in("bob", PASSWORD).await), "sign_in_failed");
    let again = world.join("bob", &home(), Role::Viewer).await;
    assert!(known(&world, &again) && !known(&world, &bob), "an account is never another's");
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let (world, _) = World::with_ada().await;
    let demote = async |who: &str| code(world.members.set_role(&home(), &login(who), Role::Viewer, None, "x").await);
    let remove = async |who: &str| code(world.members.remove_member(&home(), &login(who), None, "x").await);
    assert_eq!((demote("ada").await, remove("ada").await), ("last_administrator", "last_administrator"));
    world.join("bob", &home(), Role::Administrator).await;
    let (one, other) = tokio::join!(demote("ada"), demote("bob"));
    let mut outcomes = [one, other];
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["done", "last_administrator"], "also when both happen at a time");
}

#[tokio::test]
async fn two_writers_of_one_member_do_not_overwrite_each_other() {
    let (world, _) = World::with_ada().await;
    world.join("bob", &home(), Role::Viewer).await;
    let seen = world.members.member(&home(), &login("bob")).expect("is a member").revision;
    let change = async |role| world.members.set_role(&home(), &login("bob"), role, Some(seen), "ada").await;
    change(Role::Editor).await.expect("changes");
    assert_eq!(code(change(Role::Administrator).await), "revision_stale");
}

#[tokio::test]
async fn organizations_are_apart_and_go_only_when_they_are_empty() {
    let (world, ada) = World::with_ada().await;
    let acme = organization("acme");
    let create = async |name: &OrganizationName| {
        world.members.create_organization(name, Description::default(), "ada", Some(&ada.1.account)).await
    };
    create(&acme).await.expect("creates");
    assert_eq!((code(create(&acme).await), code(create(&home()).await)), ("name_taken", "name_taken"));
    let names: Vec<_> = world.members.organizations().into_iter().map(|view| view.name).collect();
    assert_eq!(names, [acme.clone(), home()]);
    assert_eq!(world.members.member(&acme, &login("ada")).expect("made it").role, Some(Role::Administrator));
    let bob = world.join("bob", &acme, Role::Viewer).await;
    assert!(world.members.member(&home(), &login("bob")).is_none());
    world.members.invite(&acme, &login("carol"), Role::Viewer, "ada").await.expect("invites");
    let new = NewToken { name: TokenName::parse("ci").expect("a name"), role: Role::Viewer, expires_at: now(&world) + 7200 };
    let (_, token) = world.members.create_token(&acme, new, "ada").await.expect("creates");

    assert_eq!(code(world.members.delete_organization(&home(), || true, "ada").await), "declared_read_only");
    assert_eq!(code(world.members.delete_organization(&acme, || false, "ada").await), "organization_not_empty");
    assert!(known(&world, &bob));
    world.members.delete_organization(&acme, || true, "ada").await.expect("deletes");
    assert!(!known(&world, &bob) && world.members.by_token(token.show_once().as_bytes()).is_none());
    assert!(known(&world, &ada), "who is a member of another stays");
    create(&acme).await.expect("the name is free");
    assert_eq!(world.members.members(&acme).len(), 1);
    assert!(world.members.invitations(&acme).is_empty() && world.members.tokens(&acme).is_empty());
}

fn now(world: &World) -> i64 {
    i64::try_from(world.seconds.load(Ordering::Relaxed)).expect("small")
}

#[tokio::test]
async fn a_token_is_its_program_until_it_ends_or_is_revoked() {
    let (world, _) = World::with_ada().await;
    let create = async |name: &str, lives: i64| {
        let new = NewToken { name: TokenName::parse(name).expect("a name"), role: Role::Editor, expires_at: now(&world) + lives };
        world.members.create_token(&home(), new, "ada").await
    };
    assert_eq!(code(create("ci", 60).await), "invalid_field");
    assert_eq!(code(create("ci", 400 * 86_400).await), "invalid_field");
    let (view, token) = create("ci", 7200).await.expect("creates");
    assert_eq!((view.role, view.expired, view.seen_at), (Some(Role::Editor), false, None));
    assert!(token.show_once().starts_with("sat_"));
    assert_eq!(code(create("ci", 7200).await), "name_taken");
    let program = world.members.by_token(token.show_once().as_bytes()).expect("is known");
    assert_eq!((program.name.as_str(), program.organization, program.role), ("ci", home(), Role::Editor));
    assert!(world.members.tokens(&home())[0].seen_at.is_some());
    assert!(world.members.by_session(token.show_once().as_bytes()).is_none(), "a token is no session");
    world.pass(7200);
    assert!(world.members.by_token(token.show_once().as_bytes()).is_none());
    assert!(world.members.tokens(&home())[0].expired);
    let (_, second) = create("cd", 7200).await.expect("creates");
    world.members.revoke_token(&home(), &TokenName::parse("cd").expect("a name")).await.expect("revokes");
    assert!(world.members.by_token(second.show_once().as_bytes()).is_none());
}

#[tokio::test]
async fn a_provider_decides_the_roles_of_whom_it_vouches_for() {
    let (world, _) = World::with_ada().await;
    let subject = |id: &str| Subject { issuer: "https://id.example".into(), subject: id.into(), roles_from_groups: true };
    let enter = async |id: &str, who: &str, roles: &[(OrganizationName, Role)]| {
        let roles = Some(roles.iter().cloned().collect());
        world.members.sign_in_with_provider(subject(id), &login(who), roles, None, &here()).await
    };
    assert_eq!(code(enter("1", "bob", &[]).await), "no_role");
    assert_eq!(code(enter("1", "ada", &[(home(), Role::Viewer)]).await), "login_taken", "another's account is not taken over");
    let bob = enter("1", "bob", &[(home(), Role::Editor)]).await.expect("enters");
    assert_eq!(bob.1.roles.get(&home()), Some(&Role::Editor));
    assert_eq!(code(world.sign_in("bob", PASSWORD).await), "sign_in_failed", "there is no password");
    let by_hand = world.members.set_role(&home(), &login("bob"), Role::Administrator, None, "ada").await;
    assert_eq!(code(by_hand), "role_from_provider");
    let renamed = enter("1", "robert", &[(home(), Role::Viewer)]).await.expect("enters");
    assert_eq!((renamed.1.account, renamed.1.login.as_str()), (bob.1.account.clone(), "robert"));
    assert_eq!(code(enter("1", "robert", &[]).await), "no_role");
    assert!(!known(&world, &bob), "whoever is in no group any more is out");
    let again = enter("1", "robert", &[(home(), Role::Viewer)]).await.expect("enters");
    world.members.remove_member(&home(), &login("robert"), None, "ada").await.expect("removes");
    assert!(!known(&world, &again), "a removal counts at once");
}

#[tokio::test]
async fn without_groups_an_invitation_lets_a_provider_s_person_in() {
    let (world, _) = World::with_ada().await;
    let subject = || Subject { issuer: "https://id.example".into(), subject: "1".into(), roles_from_groups: false };
    let enter = async |who: &str, link: Option<&Token>| {
        let link = link.map(|link| link.show_once().as_bytes());
        world.members.sign_in_with_provider(subject(), &login(who), None, link, &here()).await
    };
    assert_eq!(code(enter("bob", None).await), "no_role");
    let (_, link) = world.members.invite(&home(), &login("bob"), Role::Editor, "ada").await.expect("invites");
    assert_eq!(code(enter("eve", Some(&link)).await), "no_role", "it is for somebody else");
    let bob = enter("bob", Some(&link)).await.expect("enters");
    assert_eq!(bob.1.roles.get(&home()), Some(&Role::Editor));
    assert!(enter("bob", None).await.is_ok() && world.members.invitations(&home()).is_empty());
}

#[tokio::test]
async fn no_record_shows_a_password_its_hash_or_a_token() {
    let (world, ada) = World::with_ada().await;
    let (_, link) = world.members.invite(&home(), &login("bob"), Role::Editor, "ada").await.expect("invites");
    for stored in world.backend.load(&[""]).await.expect("loads").stored {
        let text = String::from_utf8_lossy(&stored.bytes).into_owned();
        for hidden in [PASSWORD, "argon2", ada.0.show_once(), link.show_once()] {
            assert!(!text.contains(hidden), "{hidden} in {}", stored.key);
        }
    }
}

#[tokio::test]
async fn a_damaged_account_is_nobody_and_opens_no_door() {
    let (world, _) = World::with_ada().await;
    let stored = world.backend.load(&[""]).await.expect("loads").stored;
    let account = stored.iter().find(|stored| stored.key.starts_with("record/account/")).expect("there");
    let mut bytes = account.bytes.clone();
    *bytes.last_mut().expect("not empty") ^= 1;
    let expect = crate::store::Expect::Version(account.version);
    let bent = crate::store::Write::Put { key: account.key.clone(), expect, bytes };
    world.backend.commit(vec![bent]).await.expect("commits");
    let world = world.restarted().await;
    assert_eq!(code(world.sign_in("ada", PASSWORD).await), "sign_in_failed");
    assert!(world.members.offer_setup().await.expect("random").is_none(), "damage does not make a first start");
    assert!(world.members.members(&home())[0].fault.is_some());
    world.members.remove_member(&home(), &login("ada"), None, "local").await.expect("removes what is damaged");
    assert!(world.members.offer_setup().await.expect("random").is_some());
}
