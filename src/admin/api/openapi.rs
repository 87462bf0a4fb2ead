//! The OpenAPI document: made from the handlers, completed with what all of them have in common.

use axum::routing::{MethodRouter, get};
use http::Method;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Schema};

use super::State;
use super::documents::ProblemSchema;

const SCHEME: &str = "token";
const ABOUT: &str = "Secrets, runners and what belongs to them. Values are written and never read. A change names the \
revision that it was made from (If-Match with the entity tag, or `revision`), so that two writers never overwrite each \
other unseen. Every no is a problem document (RFC 9457).";

/// Adds to `document` what no handler says: who may call it (`right`, by method and route), how to say who
/// one is, and how it says no.
pub(super) fn complete(document: &mut OpenApi, right: fn(&Method, &str) -> Option<String>) {
    document.info = InfoBuilder::new().title("subrosa").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)).build();
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.insert("Problem".to_owned(), ProblemSchema::schema());
    components.add_security_scheme(SCHEME, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    document.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
    for (route, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                operation.operation_id = operation.operation_id.take().map(|name| unique(&name, route));
                finish(operation, right(&method, route));
            }
        }
    }
}

/// What organizations, secrets, runners and tokens may be called.
const NAME: &str = "^[A-Za-z][A-Za-z0-9_.-]*$";
const LONGEST_NAME: usize = 128;

/// Says of a path's parameter what a name is.
fn describe_name(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    if !matches!(parameter.name.as_str(), "organization" | "name") {
        return;
    }
    if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
        (schema.pattern, schema.min_length, schema.max_length) = (Some(NAME.to_owned()), Some(1), Some(LONGEST_NAME));
    }
}

/// Handlers are called `list` and `create` in each of their files; in the document they need names that differ, as in
/// `list_secrets` and `create_secret`.
fn unique(name: &str, route: &str) -> String {
    let resource = route.rsplit('/').find(|part| !part.starts_with('{')).unwrap_or_default().replace('-', "_");
    let of_one = name == "create" || route.ends_with('}');
    let noun = if of_one { resource.strip_suffix('s').unwrap_or(&resource) } else { &resource };
    let says_it = name.split('_').any(|word| resource.starts_with(word));
    if says_it { name.to_owned() } else { format!("{name}_{noun}") }
}

fn finish(operation: &mut Operation, right: Option<String>) {
    operation.parameters.iter_mut().flatten().for_each(describe_name);
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new().description("Not carried out.").content("application/problem+json", content);
    operation.responses.responses.insert("default".to_owned(), problem.build().into());
    if let Some(right) = right {
        operation.description = Some(match operation.description.take() {
            Some(said) => format!("{said}\n\n{right}"),
            None => right,
        });
    }
}

/// Serves the document as it is now.
pub(super) fn route(document: &OpenApi) -> MethodRouter<State> {
    let json = document.to_json().expect("a document has text keys only");
    get(async move || ([(http::header::CONTENT_TYPE, "application/json")], json.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let (_, document) = super::super::described();
        let items = document.paths.paths.values();
        let operations = items.flat_map(|item| [&item.get, &item.post, &item.put, &item.patch, &item.delete]).flatten();
        let mut names: Vec<_> = operations.map(|operation| operation.operation_id.clone().expect("a name")).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), count > 30), (count, true), "{names:?}");
    }

    #[test]
    fn names_tell_what_they_are_about() {
        for (name, route, wanted) in [
            ("list", "/api/v1/organizations/{organization}/secrets", "list_secrets"),
            ("create", "/api/v1/organizations/{organization}/secrets", "create_secret"),
            ("show", "/api/v1/organizations/{organization}/secrets/{name}", "show_secret"),
            ("revoke", "/api/v1/organizations/{organization}/invitations/{id}", "revoke_invitation"),
            ("rotate_token", "/api/v1/organizations/{organization}/runners/{name}/token", "rotate_token"),
            ("secret_usage", "/api/v1/organizations/{organization}/secrets/{name}/usage", "secret_usage"),
            ("reload", "/api/v1/reload", "reload"),
            ("take", "/api/v1/backup", "take_backup"),
        ] {
            assert_eq!(unique(name, route), wanted);
        }
    }
}
