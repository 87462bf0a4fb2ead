//! What can be looked at, read from the table of rights, so that a page which is added there is looked at too.

/// The routes of GET.
pub fn gets() -> Vec<String> {
    rows().map(|(path, _)| path).collect()
}

/// Those that take a role in the organization that they name.
pub fn of_members() -> Vec<String> {
    let rows = rows().filter(|(path, right)| path.contains("{organization}") && right != "Right::Operate");
    rows.map(|(path, _)| path).collect()
}

/// The rows of GET: what is looked at, and what that takes.
fn rows() -> impl Iterator<Item = (String, String)> {
    let table: String = include_str!("../../../src/admin/access.rs").split_whitespace().collect();
    let rows: Vec<_> = table.split("(Method::GET,\"").skip(1).map(ToOwned::to_owned).collect();
    rows.into_iter().filter_map(|row| {
        let (path, rest) = row.split_once("\",")?;
        let right = rest.split([',', ')']).next()?;
        (path != "/assets/{file}").then(|| (path.to_owned(), right.to_owned()))
    })
}

/// A route of an organization that holds `crm.apiKey`, the runner `billing`, the member `vera`, who has
/// invited `wanda`, and the token `ci`.
pub fn filled(route: &str, organization: &str, invitation: &str) -> String {
    let mut before = "";
    let parts = route.split('/').map(|part| {
        let filled = match (before, part) {
            (_, "{organization}") => organization,
            ("secrets", "{name}") => "crm.apiKey",
            ("runners", "{name}") => "billing",
            ("tokens", "{name}") => "ci",
            ("members", "{login}") => "vera",
            ("invitations", "{login}") => "wanda",
            ("invitation", "{token}") => invitation,
            ("setup", "{token}") => "over",
            _ => part,
        };
        assert!(!filled.contains('{'), "say what stands for {part} in {route}");
        before = part;
        filled
    });
    parts.collect::<Vec<_>>().join("/")
}
