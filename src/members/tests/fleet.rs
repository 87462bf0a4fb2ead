//! People on several nodes of one store: known on each, and no two nodes let through together what neither would alone.

use super::*;

async fn two() -> (World, World) {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let seconds = Arc::new(AtomicU64::new(START));
    let mut worlds = Vec::new();
    for _ in 0..2 {
        let members = members_over(&backend, &seconds).await;
        worlds.push(World { members, backend: Arc::clone(&backend), seconds: Arc::clone(&seconds) });
    }
    let other = worlds.pop().expect("two");
    (worlds.pop().expect("one"), other)
}

/// Waits until what the other node wrote has come.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if what() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come");
}

#[tokio::test]
async fn a_session_works_on_each_node_until_it_ends_on_one() {
    let (one, two) = two().await;
    // The link of a first start works wherever it is opened.
    let link = one.members.offer_setup().await.expect("stored").expect("nobody is there");
    until(|| two.members.may_set_up(link.show_once().as_bytes())).await;
    let ada = two.members.set_up(link.show_once().as_bytes(), &login("ada"), typed(PASSWORD), &here()).await.expect("is set up");
    until(|| known(&one, &ada)).await;
    assert!(!one.members.may_set_up(link.show_once().as_bytes()), "it was for the first");
    let again = one.sign_in("ada", PASSWORD).await.expect("signs in");
    until(|| known(&two, &again)).await;
    one.members.end_session(&ada.1.account, &ada.1.session).await.expect("ended");
    until(|| !known(&two, &ada)).await;
    assert!(known(&two, &again), "the other one goes on");
    two.members.change_password(&again.1, typed(PASSWORD), typed("another horse battery"), &here()).await.expect("changed");
    until(|| !known(&one, &again)).await;
    // Both tidy: what the other has removed is no fault.
    one.pass(8 * 24 * HOUR);
    let (first, second) = tokio::join!(one.members.tidy(), two.members.tidy());
    first.expect("tidy");
    second.expect("tidy");
    assert!(one.members.sessions(&ada.1.account).is_empty());
}

#[tokio::test]
async fn of_two_links_of_a_first_start_one_makes_an_administrator() {
    let (one, two) = two().await;
    let mut links = Vec::new();
    for world in [&one, &two] {
        links.push(world.members.offer_setup().await.expect("stored").expect("nobody is there"));
    }
    let (ada, eve) = (login("ada"), login("eve"));
    let from = here();
    let first = one.members.set_up(links[0].show_once().as_bytes(), &ada, typed(PASSWORD), &from);
    let second = two.members.set_up(links[1].show_once().as_bytes(), &eve, typed(PASSWORD), &from);
    let (first, second) = tokio::join!(first, second);
    let mut codes = [code(first), code(second)];
    codes.sort_unstable();
    assert_eq!(codes, ["done", "link_invalid"]);
}

#[tokio::test]
async fn the_last_administrator_stays_whoever_takes_roles_away_where() {
    let (one, two) = two().await;
    let link = one.members.offer_setup().await.expect("stored").expect("nobody is there");
    one.members.set_up(link.show_once().as_bytes(), &login("ada"), typed(PASSWORD), &here()).await.expect("is set up");
    one.join("bob", &home(), Role::Administrator).await;
    until(|| two.members.member(&home(), &login("bob")).is_some()).await;
    let (home, ada, bob) = (home(), login("ada"), login("bob"));
    let first = one.members.set_role(&home, &ada, Role::Editor, None, "bob");
    let second = two.members.remove_member(&home, &bob, None, "ada");
    let (first, second) = tokio::join!(first, second);
    let mut codes = [code(first), code(second)];
    codes.sort_unstable();
    assert_eq!(codes, ["done", "last_administrator"]);
}

#[tokio::test]
async fn an_invitation_that_was_taken_back_elsewhere_lets_nobody_in() {
    let (one, two) = two().await;
    let link = one.members.offer_setup().await.expect("stored").expect("nobody is there");
    let ada = one.members.set_up(link.show_once().as_bytes(), &login("ada"), typed(PASSWORD), &here()).await.expect("is set up");
    let acme = organization("acme");
    let by = Some(&*ada.1.account);
    one.members.create_organization(&acme, Description::default(), "ada", by).await.expect("made");
    let (_, link) = one.members.invite(&acme, &login("bob"), Role::Editor, "ada").await.expect("invited");
    one.join("bob", &home(), Role::Viewer).await;
    until(|| two.members.member(&home(), &login("bob")).is_some()).await;
    let bob = two.sign_in("bob", PASSWORD).await.expect("signs in").1;
    until(|| one.members.sessions(&bob.account).len() == 2).await;
    let login = login("bob");
    let taken_back = one.members.revoke_invitation(&acme, &login);
    let accepted = two.members.accept_as(link.show_once().as_bytes(), &bob);
    let (taken_back, accepted) = tokio::join!(taken_back, accepted);
    taken_back.expect("taken back");
    assert_eq!(code(accepted), "link_invalid");
}
