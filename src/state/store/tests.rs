use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use proptest::prelude::*;

use super::*;

impl Kept for ConfigMap {
    type Record = Infallible;
    fn uid_of(record: &Infallible) -> &str {
        match *record {}
    }
    fn restored(_: &ObjectKey, _: u64, record: &Infallible) -> Self {
        match *record {}
    }
}

fn object(name: &str, uid: &str, version: u64) -> Arc<ConfigMap> {
    Arc::new(ConfigMap {
        metadata: ObjectMeta {
            namespace: Some("ns".into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    })
}

fn version(store: &Store<ConfigMap>, name: &str) -> Option<u64> {
    store.get(&ObjectKey::new("ns", name)).map(|object| version_of(object.as_ref()))
}

#[test]
fn an_own_write_is_not_undone_by_an_older_watch_event() {
    let mut store = Store::default();
    store.apply(object("a", "1", 5));
    assert!(store.apply(object("a", "1", 3)).is_empty());
    assert_eq!(version(&store, "a"), Some(5));
}

#[test]
fn a_late_answer_does_not_bring_a_deleted_object_back() {
    let mut store = Store::default();
    store.apply(object("a", "1", 5));
    store.delete(&ObjectKey::new("ns", "a"), "1");
    assert!(store.apply(object("a", "1", 5)).is_empty());
    assert!(store.saw_deleted("1"));
}

#[test]
fn the_deleted_event_of_a_former_object_leaves_the_present_one() {
    let mut store = Store::default();
    store.apply(object("a", "2", 9));
    assert!(store.delete(&ObjectKey::new("ns", "a"), "1").is_none());
    assert_eq!(version(&store, "a"), Some(9));
}

#[test]
fn a_name_used_again_shows_the_former_object_as_gone_first() {
    let mut store = Store::default();
    store.apply(object("a", "1", 5));
    let changes = store.apply(object("a", "2", 9));
    assert_eq!(changes.len(), 2);
    assert!(changes[0].new.is_none() && changes[1].old.is_none());
    assert!(store.saw_deleted("1"));
}

#[test]
fn a_new_list_drops_what_it_does_not_show_and_keeps_what_was_written_meanwhile() {
    let mut store = Store::default();
    store.apply(object("a", "1", 1));
    store.apply(object("b", "2", 2));
    store.begin_list(&Feed::Everywhere);
    store.note_listed(&Feed::Everywhere, &ObjectKey::new("ns", "a"));
    store.apply(object("a", "1", 1));
    store.apply(object("c", "3", 4));
    let dropped = store.end_list(&Feed::Everywhere);
    assert_eq!(dropped.len(), 1);
    assert_eq!((version(&store, "a"), version(&store, "b"), version(&store, "c")), (Some(1), None, Some(4)));
    assert!(!store.saw_deleted("2"), "missing from a list is no proof");
    // "c" may have been deleted before the list was made. No watch event will ever show that.
    assert_eq!(store.take_doubtful(), [(ObjectKey::new("ns", "c"), "3".to_owned())]);
    assert_eq!(store.take_doubtful(), [], "each is read once");
}

#[test]
fn the_order_of_arrival_survives_updates() {
    let mut store = Store::default();
    store.apply(object("a", "1", 1));
    store.apply(object("b", "2", 2));
    store.apply(object("a", "1", 3));
    assert!(store.arrival(&ObjectKey::new("ns", "a")) < store.arrival(&ObjectKey::new("ns", "b")));
}

#[test]
fn a_list_of_one_namespace_leaves_the_objects_of_others_alone() {
    let mut store = Store::default();
    let (ns, other) = (Feed::Namespace("ns".into()), Feed::Namespace("other".into()));
    store.apply(object("a", "1", 1));
    store.begin_list(&other);
    assert!(store.end_list(&other).is_empty());
    assert_eq!((store.progress(&ns), store.progress(&other)), (Progress::Awaited, Progress::Whole));
    store.begin_list(&ns);
    assert_eq!(store.end_list(&ns).len(), 1, "its own list drops it");
}

#[test]
fn a_refused_list_changes_nothing_of_what_was_listed_before() {
    let (mut store, ns) = (Store::<ConfigMap>::default(), Feed::Namespace("ns".into()));
    store.refuse_list(&ns);
    assert_eq!(store.progress(&ns), Progress::Refused);
    store.begin_list(&ns);
    store.apply(object("a", "1", 1));
    store.end_list(&ns);
    store.refuse_list(&ns);
    assert_eq!((store.progress(&ns), version(&store, "a")), (Progress::Whole, Some(1)));
}

/// A step of the API server, or of a watch of one of three namespaces.
#[derive(Clone, Debug)]
enum Step {
    /// Creates or changes the object of this namespace and name.
    Write(usize, usize),
    /// Deletes it.
    Delete(usize, usize),
    /// The watch of this namespace begins a list; a current one is abandoned.
    Begin(usize),
    /// The list shows its next object, as it was when the list began.
    Show(usize),
    /// The watch gets the next change after its list.
    Event(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = || (0..3_usize, 0..4_usize);
    prop_oneof![
        at().prop_map(|(namespace, name)| Step::Write(namespace, name)),
        at().prop_map(|(namespace, name)| Step::Delete(namespace, name)),
        (0..3_usize).prop_map(Step::Begin),
        (0..3_usize).prop_map(Step::Show),
        (0..3_usize).prop_map(Step::Event),
    ]
}

/// The watch of one namespace, as the API server serves it.
#[derive(Default)]
struct Watch {
    /// What the current list still has to show; `None` without a list.
    list: Option<Vec<Arc<ConfigMap>>>,
    /// Changes since the list began, each with whether it is a deletion.
    events: std::collections::VecDeque<(bool, Arc<ConfigMap>)>,
    begun: bool,
}

impl Watch {
    /// Takes one step of the list, or ends it after the last. Returns whether there was a list.
    fn show(&mut self, store: &mut Store<ConfigMap>, feed: &Feed) -> bool {
        let Some(list) = &mut self.list else { return false };
        if let Some(shown) = list.pop() {
            store.note_listed(feed, &ObjectKey::of(shown.as_ref()));
            store.apply(shown);
        } else {
            store.end_list(feed);
            self.list = None;
        }
        true
    }

    fn event(&mut self, store: &mut Store<ConfigMap>) -> bool {
        if self.list.is_some() {
            return false;
        }
        let Some((deleted, object)) = self.events.pop_front() else { return false };
        if deleted {
            store.delete(&ObjectKey::of(object.as_ref()), object.metadata.uid.as_deref().unwrap_or_default());
        } else {
            store.apply(object);
        }
        true
    }
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

proptest! {
    #[test]
    fn any_interleaving_of_the_lists_of_several_namespaces_keeps_exactly_the_live_objects(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut server: HashMap<ObjectKey, Arc<ConfigMap>> = HashMap::new();
        let mut watches: Vec<Watch> = NAMESPACES.iter().map(|_| Watch::default()).collect();
        let feeds = NAMESPACES.map(|name| Feed::Namespace(name.into()));
        let mut store = Store::default();
        let mut version = 0;
        let all_begin = (0..3).map(Step::Begin);
        for step in steps.into_iter().chain(all_begin) {
            version += 1;
            match step {
                Step::Write(namespace, name) => {
                    let key = ObjectKey::new(NAMESPACES[namespace], name.to_string());
                    let uid = server.get(&key).and_then(|object| object.metadata.uid.clone());
                    let mut written = object(&key.name, &uid.unwrap_or_else(|| version.to_string()), version);
                    Arc::make_mut(&mut written).metadata.namespace = Some(key.namespace.clone());
                    watches[namespace].events.push_back((false, written.clone()));
                    server.insert(key, written);
                }
                Step::Delete(namespace, name) => {
                    let key = ObjectKey::new(NAMESPACES[namespace], name.to_string());
                    if let Some(gone) = server.remove(&key) {
                        watches[namespace].events.push_back((true, gone));
                    }
                }
                Step::Begin(namespace) => {
                    store.begin_list(&feeds[namespace]);
                    let here = server.iter().filter(|(key, _)| key.namespace == NAMESPACES[namespace]);
                    let list = here.map(|(_, object)| object.clone()).collect();
                    watches[namespace] = Watch { list: Some(list), begun: true, ..Watch::default() };
                }
                Step::Show(namespace) => {
                    watches[namespace].show(&mut store, &feeds[namespace]);
                }
                Step::Event(namespace) => {
                    let watch = &mut watches[namespace];
                    let _ = watch.begun && watch.event(&mut store);
                }
            }
            // Everything that a list dropped is of its own namespace: objects that another watch has shown stay.
            for (watch, namespace) in watches.iter().zip(NAMESPACES) {
                let quiet = watch.begun && watch.list.is_none() && watch.events.is_empty();
                for (key, object) in server.iter().filter(|(key, _)| quiet && key.namespace == namespace) {
                    prop_assert_eq!(store.get(key), Some(object));
                }
            }
        }
        for (watch, feed) in watches.iter_mut().zip(&feeds) {
            while watch.show(&mut store, feed) || watch.event(&mut store) {}
        }
        let stored: HashMap<_, _> = store.iter().map(|(key, object)| (key.clone(), object.clone())).collect();
        prop_assert_eq!(stored, server);
        prop_assert!(feeds.iter().all(|feed| store.progress(feed) == Progress::Whole));
    }
}
