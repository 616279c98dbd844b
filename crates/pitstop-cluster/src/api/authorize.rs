//! Who asks, and may they: impersonation, tokens, roles, what nodes may touch, and that nobody gives away more than they
//! have.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;

use super::status::Failure;
use super::{Api, Call, metadata};
use crate::access::nodes::{self, Objects, Write};
use crate::access::policy::{self, Policy, Rule};
use crate::access::token::{Claims, Reference, Signer};
use crate::access::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorization, Decision, MASTERS, UNAUTHENTICATED, User,
    account_groups, account_of, defaults,
};
use crate::serve;
use crate::store::{Filter, Key, ListQuery};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Where roles and bindings are stored: a change of any of them changes the policy.
const SOURCES: [(&str, &str); 4] = [
    (RBAC, "clusterroles"),
    (RBAC, "roles"),
    (RBAC, "clusterrolebindings"),
    (RBAC, "rolebindings"),
];

/// Extra facts about whoever comes with a token.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// What a server needs to decide who may do what.
#[derive(Debug)]
pub(super) struct Guard {
    mode: Authorization,
    policy: Mutex<Cached>,
    node_rules: OnceLock<Vec<Rule>>,
    data: Option<PathBuf>,
    signer: OnceLock<Option<Signer>>,
}

/// The policy as of the last look at what it is made of.
#[derive(Debug)]
struct Cached {
    sources: Vec<watch::Receiver<u64>>,
    policy: Option<Arc<Policy>>,
}

impl Guard {
    /// `subscribe` gives what wakes when a collection changes.
    pub(super) fn new(
        mode: Authorization,
        data: Option<PathBuf>,
        subscribe: impl Fn((&'static str, &'static str)) -> Option<watch::Receiver<u64>>,
    ) -> Self {
        Self {
            mode,
            policy: Mutex::new(Cached {
                sources: SOURCES.into_iter().filter_map(subscribe).collect(),
                policy: None,
            }),
            node_rules: OnceLock::new(),
            data,
            signer: OnceLock::new(),
        }
    }
}

impl Api {
    /// Do roles say who may do what?
    pub(crate) fn decides_by_roles(&self) -> bool {
        self.guard.mode == Authorization::Rbac
    }

    /// May a request be made? Answers who makes it: somebody else, if it says so and its maker may say so.
    pub(super) fn authorize(
        &self,
        user: User,
        headers: &HeaderMap,
        asked: &Attributes,
    ) -> Result<User, Failure> {
        let user = self.impersonated(user, headers)?;
        self.check_access(&user, asked)?;
        Ok(user)
    }

    fn check_access(&self, user: &User, asked: &Attributes) -> Result<(), Failure> {
        if !self.decides_by_roles() {
            return Ok(());
        }
        let decision = self.decide(user, asked);
        if decision.allowed {
            Ok(())
        } else {
            Err(Failure::not_allowed(user, asked, &decision.reason))
        }
    }

    /// May somebody do something?
    pub(super) fn decide(&self, user: &User, asked: &Attributes) -> Decision {
        if !self.decides_by_roles() || user.is_in(MASTERS) {
            return Decision::allow("");
        }
        let mut reasons = Vec::new();
        if let Some(node) = nodes::node_of(user) {
            let rules = self.guard.node_rules.get_or_init(defaults::node_rules);
            let decision = nodes::decide(node, asked, rules, self);
            if decision.allowed {
                return decision;
            }
            reasons.push(decision.reason);
        }
        let decision = self.policy().decide(user, asked);
        if decision.allowed {
            return decision;
        }
        reasons.push(decision.reason);
        reasons.retain(|reason| !reason.is_empty());
        Decision::no_opinion(reasons.join("\n"))
    }

    /// Roles and bindings as they are stored now.
    pub(super) fn policy(&self) -> Arc<Policy> {
        let mut cached = self.guard.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let Cached { sources, policy } = &mut *cached;
        let mut changed = policy.is_none();
        for source in sources {
            changed |= source.has_changed().unwrap_or(true);
            // Seen before it is read: what changes in between is read again the next time.
            source.borrow_and_update();
        }
        match policy {
            Some(policy) if !changed => policy.clone(),
            _ => {
                let new = Arc::new(self.read_policy());
                *policy = Some(new.clone());
                new
            }
        }
    }

    fn read_policy(&self) -> Policy {
        let mut policy = Policy::default();
        for source in SOURCES {
            let is_binding = source.1.ends_with("bindings");
            for object in self.objects(source, &ListQuery::default()) {
                if is_binding {
                    policy.add_binding(object);
                } else {
                    policy.add_role(object);
                }
            }
        }
        policy
    }

    /// All objects of a kind that a query asks for; none where there is no such kind.
    pub(super) fn objects(&self, stored_as: (&str, &str), query: &ListQuery<'_>) -> Vec<Value> {
        let Ok(collected) = self.collected(stored_as) else {
            return Vec::new();
        };
        let page = self.store.list(collected.id, query, &Filter::default());
        page.map(|page| page.items.iter().map(|stored| stored.decode()).collect())
            .unwrap_or_default()
    }

    /// One object, if it is there.
    pub(super) fn object(&self, stored_as: (&str, &str), namespace: &str, name: &str) -> Option<Value> {
        let collected = self.collected(stored_as).ok()?;
        let stored = self.store.get(collected.id, &Key::new(namespace, name))?;
        Some(stored.decode())
    }

    /// Who a request is to be made as.
    fn impersonated(&self, user: User, headers: &HeaderMap) -> Result<User, Failure> {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let name = header("impersonate-user").filter(|name| !name.is_empty());
        let groups: Vec<String> = headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let uid = header("impersonate-uid");
        let extra: Vec<(String, String)> = headers
            .iter()
            .filter_map(|(name, value)| {
                let key = name.as_str().strip_prefix("impersonate-extra-")?;
                Some((
                    super::params::percent_decode(key),
                    value.to_str().ok()?.to_owned(),
                ))
            })
            .collect();
        let Some(name) = name else {
            if groups.is_empty() && uid.is_none() && extra.is_empty() {
                return Ok(user);
            }
            return Err(Failure::internal(
                "Internal error occurred: requested impersonation without impersonating a user",
            ));
        };
        self.check_impersonation(&user, &name, &groups, uid.as_deref(), &extra)?;
        let mut other = User {
            name: name.as_str().into(),
            uid: uid.unwrap_or_default(),
            groups,
            ..User::default()
        };
        if let (true, Some((namespace, _))) = (other.groups.is_empty(), account_of(&name)) {
            other.groups = account_groups(namespace);
        }
        let everyone = if name == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !other.is_in(AUTHENTICATED) && !other.is_in(UNAUTHENTICATED) {
            other.groups.push(everyone.to_owned());
        }
        for (key, value) in extra {
            other.extra.entry(key).or_default().push(value);
        }
        Ok(other)
    }

    fn check_impersonation(
        &self,
        user: &User,
        name: &str,
        groups: &[String],
        uid: Option<&str>,
        extra: &[(String, String)],
    ) -> Result<(), Failure> {
        let attributes = |group: &str, resource: &str, name: &str| Attributes {
            verb: "impersonate".to_owned(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        let who = match account_of(name) {
            Some((namespace, account)) => Attributes {
                namespace: namespace.to_owned(),
                ..attributes("", "serviceaccounts", account)
            },
            None => attributes("", "users", name),
        };
        let mut asked = vec![who];
        asked.extend(groups.iter().map(|group| attributes("", "groups", group)));
        asked.extend(uid.map(|uid| attributes("authentication.k8s.io", "uids", uid)));
        asked.extend(extra.iter().map(|(key, value)| Attributes {
            subresource: key.clone(),
            ..attributes("authentication.k8s.io", "userextras", value)
        }));
        asked.iter().try_for_each(|asked| self.check_access(user, asked))
    }

    /// What a writer may not write although it may write: nodes touch only what is theirs, and nobody gives away rights
    /// that they do not have. `old` is what is stored, `new` what is to be stored.
    pub(super) fn check_write(
        &self,
        call: &Call,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Failure> {
        if !self.decides_by_roles() || call.user.is_in(MASTERS) {
            return Ok(());
        }
        let forbidden = |why: &str| {
            let object = new.or(old).unwrap_or(&Value::Null);
            let name = match call.asked.name.as_str() {
                "" => metadata::text(object, "name"),
                name => name,
            };
            Failure::forbidden_write(&call.asked, name, why)
        };
        if let Some(node) = nodes::node_of(&call.user) {
            let write = Write {
                asked: &call.asked,
                old,
                new,
            };
            nodes::check_write(node, &write, self).map_err(|why| forbidden(&why))?;
        }
        let Some(new) = new.filter(|_| call.asked.group == RBAC) else {
            return Ok(());
        };
        self.check_grant(&call.user, &call.asked, old, new)
            .map_err(|why| forbidden(&why))
    }

    /// Who writes a role or a binding must have the rights that it gives, or the right to give them.
    fn check_grant(
        &self,
        user: &User,
        asked: &Attributes,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), String> {
        let is_binding = asked.resource.ends_with("bindings");
        let changed = |field: &str| old.is_none_or(|old| old.get(field) != new.get(field));
        let gives_more = if is_binding {
            changed("roleRef") || changed("subjects")
        } else {
            changed("rules") || changed("aggregationRule")
        };
        let text = |pointer: &str| new.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let policy = self.policy();
        let may = |verb: &str, resource: &str, name: &str| {
            let asked = Attributes {
                verb: verb.to_owned(),
                resource: resource.to_owned(),
                name: name.to_owned(),
                subresource: String::new(),
                ..asked.clone()
            };
            self.decide(user, &asked).allowed
        };
        let wanted = if is_binding {
            let (kind, role) = (text("/roleRef/kind"), text("/roleRef/name"));
            let resource = if kind == "ClusterRole" {
                "clusterroles"
            } else {
                "roles"
            };
            if !gives_more || may("bind", resource, role) {
                return Ok(());
            }
            policy.rules_of(kind, role, &asked.namespace)?.to_vec()
        } else {
            if !gives_more || may("escalate", &asked.resource, text("/metadata/name")) {
                return Ok(());
            }
            if new.get("aggregationRule").is_some() {
                // Whatever is collected one day: only who has everything may give it away.
                vec![everything()]
            } else {
                let rules = new.get("rules").cloned().unwrap_or_default();
                serde_json::from_value(rules).unwrap_or_default()
            }
        };
        let held = policy.held(user, &asked.namespace);
        let missing = policy::missing(&held.rules, &wanted);
        if missing.is_empty() {
            return Ok(());
        }
        Err(policy::escalation(user, &missing, &held.errors))
    }

    /// The key that signs tokens; `None` when it cannot be made or kept.
    pub(super) fn signer(&self) -> Option<&Signer> {
        let make = || {
            let new =
                || Signer::new_text().map_err(|error| serve::ServeError::Certificate(error.to_string()));
            let text = match &self.guard.data {
                Some(data) => serve::keep(&data.join("pki").join("sa.key"), new),
                None => new(),
            };
            let signer = text.and_then(|text| {
                Signer::from_text(&text).map_err(|error| serve::ServeError::Certificate(error.to_string()))
            });
            signer
                .inspect_err(|error| tracing::error!(%error, "no tokens for service accounts"))
                .ok()
        };
        self.guard.signer.get_or_init(make).as_ref()
    }

    /// Whose token this is; `None` when it is no token, or not good any more.
    pub(crate) fn authenticate(&self, token: &str) -> Option<User> {
        let claims = self.verified(token)?;
        let audience = crate::access::token::ISSUER;
        claims
            .aud
            .iter()
            .any(|aud| aud == audience)
            .then(|| identity(&claims))
    }

    /// What a token says, if everything that it speaks of is there.
    pub(super) fn verified(&self, token: &str) -> Option<Claims> {
        let claims = self.signer()?.verify(token, self.clock.now())?;
        let private = &claims.private;
        let namespace = private.namespace.as_str();
        let is_there = |stored_as, namespace: &str, reference: &Reference| {
            let object = self.object(stored_as, namespace, &reference.name);
            object.is_some_and(|object| metadata::text(&object, "uid") == reference.uid)
        };
        let bound = |stored_as, namespace: &str, reference: &Option<Reference>| {
            reference
                .as_ref()
                .is_none_or(|reference| is_there(stored_as, namespace, reference))
        };
        let all = is_there(("", "serviceaccounts"), namespace, &private.serviceaccount)
            && bound(("", "pods"), namespace, &private.pod)
            && bound(("", "secrets"), namespace, &private.secret)
            // A node may go before its pods do.
            && (private.pod.is_some() || bound(("", "nodes"), "", &private.node));
        all.then_some(claims)
    }
}

/// Who a token speaks of.
pub(super) fn identity(claims: &Claims) -> User {
    let private = &claims.private;
    let mut user = User::named(&claims.sub);
    user.uid.clone_from(&private.serviceaccount.uid);
    let mut fact = |key: &str, value: &str| {
        user.extra.insert(key.to_owned(), vec![value.to_owned()]);
    };
    fact(CREDENTIAL, &format!("JTI={}", claims.jti));
    if let Some(pod) = &private.pod {
        fact(POD_NAME, &pod.name);
        fact(POD_UID, &pod.uid);
    }
    if let Some(node) = &private.node {
        fact(NODE_NAME, &node.name);
        fact(NODE_UID, &node.uid);
    }
    user
}

fn everything() -> Rule {
    let all = || vec!["*".to_owned()];
    Rule {
        verbs: all(),
        api_groups: all(),
        resources: all(),
        ..Rule::default()
    }
}

impl Objects for Api {
    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.object(("", "pods"), namespace, name)
    }

    fn pods_on(&self, namespace: &str, node: &str) -> Vec<Value> {
        let query = ListQuery {
            namespace: Some(namespace),
            ..ListQuery::default()
        };
        let mut pods = self.objects(("", "pods"), &query);
        pods.retain(|pod| pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node));
        pods
    }

    fn claim_of(&self, volume: &str) -> Option<(String, String)> {
        let volume = self.object(("", "persistentvolumes"), "", volume)?;
        let text = |pointer| volume.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Some((text("/spec/claimRef/namespace")?, text("/spec/claimRef/name")?))
    }
}
