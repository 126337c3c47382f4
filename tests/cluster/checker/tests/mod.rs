//! Tests of the checker: a clean history passes; for each promise, a violation is found as exactly that, and a near
//! miss is not.

mod calls;
mod holders;
mod machines;
mod pools;
mod quota;
mod reuse;
mod scene;
mod secrets;
mod terms;
mod troubles;
mod waiting;

use self::scene::Scene;

#[test]
fn a_clean_history_has_no_violations() {
    let mut scene = Scene::new();
    scene.life(0.0, "ci-a", "one");
    scene.life(20.0, "ci-b", "two");
    scene.finds(&[]);
    scene.over(40.0);
    scene.finds(&[]);
}

#[test]
fn a_timeline_has_everything_in_order_of_time() {
    let mut scene = Scene::new();
    scene.life(0.0, "ci-a", "one");
    let text = super::timeline(&scene.record(), Vec::new(), &[]);
    let place =
        |what: &str| text.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(place(r#""event":"created""#) < place(r#""Ready""#));
    assert!(place(r#"Release("one")"#) < place(r#""event":"terminated""#));
}
