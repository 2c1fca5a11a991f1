//! Tests of applications.

use atropos_kernel::{Context, Reason};
use atropos_otp::application::{Application, ApplicationError, Applications, Kind};
use atropos_otp::{ChildSpec, ChildStarter, StartError, Supervisor};

use crate::common::{Bed, Yard, boom};

fn tree(yard: &Yard, name: &'static str) -> impl FnMut() -> Supervisor + Send + use<> {
    let yard = yard.clone();
    move || {
        let inner = yard.clone();
        let child = ChildSpec::worker(name, move |starter: &mut ChildStarter<'_>| inner.start(starter, name, false));
        Supervisor::one_for_one().child(child)
    }
}

#[test]
fn applications_start_after_their_dependencies_and_stop_in_reverse() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let applications = Applications::new()
        .with(Application::new("web", tree(&yard, "web")).depends_on("store").depends_on("log"))
        .with(Application::new("store", tree(&yard, "store")).depends_on("log"))
        .with(Application::new("log", tree(&yard, "log")))
        .with(Application::new("snake", tree(&yard, "snake")).depends_on("tail"))
        .with(Application::new("tail", tree(&yard, "tail")).depends_on("snake"))
        .with(Application::new("lost", tree(&yard, "lost")).depends_on("nowhere"));
    let manager = bed.run(move |cx: Context<()>| async move {
        let manager = applications.manager().start(&cx).await.expect("up");
        assert_eq!(manager.ensure_started(&cx, "store").await.expect("it starts"), ["log", "store"]);
        assert_eq!(manager.ensure_started(&cx, "web").await.expect("it starts"), ["web"]);
        assert_eq!(manager.ensure_started(&cx, "web").await.expect("it is up"), [""; 0]);
        let circular = manager.ensure_started(&cx, "snake").await;
        assert_eq!(circular, Err(ApplicationError::Circular("snake".into())));
        let unknown = manager.ensure_started(&cx, "lost").await;
        assert_eq!(unknown, Err(ApplicationError::Unknown("nowhere".into())));
        let needed = manager.stop_application(&cx, "log").await;
        assert_eq!(needed, Err(ApplicationError::Needed("web".into())));
        manager.stop_application(&cx, "web").await.expect("no application depends on it");
        assert_eq!(manager.ensure_started(&cx, "web").await.expect("it starts again"), ["web"]);
        let up = manager.which_applications(&cx).await.expect("alive");
        assert_eq!(up.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["log", "store", "web"]);
        manager
    });
    assert_eq!(yard.events(), ["+log", "+store", "+web", "-web", "+web"]);
    bed.exit(manager, Reason::SHUTDOWN);
    bed.settle();
    assert_eq!(yard.events(), ["-web", "-store", "-log"]);
    assert_eq!(bed.processes(), 0);
}

#[test]
fn kind_decides_what_the_end_of_an_application_means() {
    for (kind, reason, all_end) in [
        (Kind::Temporary, boom(), false),
        (Kind::Transient, Reason::NORMAL, false),
        (Kind::Transient, boom(), true),
        (Kind::Permanent, Reason::NORMAL, true),
    ] {
        let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
        let applications = Applications::new()
            .with(Application::new("base", tree(&yard, "base")))
            .with(Application::new("judged", tree(&yard, "judged")).depends_on("base").kind(kind))
            .start_on_boot("judged");
        let (manager, top) = bed.run(move |cx: Context<()>| async move {
            let manager = applications.manager().start(&cx).await.expect("up");
            let up = manager.which_applications(&cx).await.expect("alive");
            (manager, up[1].1)
        });
        // The host's exit signals count as a parent's.
        bed.exit(top, reason);
        bed.settle();
        assert_eq!(bed.is_alive(manager), !all_end, "{kind:?}");
        assert_eq!(yard.live(), usize::from(!all_end));
    }
}

#[test]
fn manager_whose_first_application_fails_does_not_start_and_leaves_nothing() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    yard.fail("b", 1);
    let applications = Applications::new()
        .with(Application::new("a", tree(&yard, "a")))
        .with(Application::new("b", tree(&yard, "b")).depends_on("a"))
        .start_on_boot("b");
    let failed = bed.run(move |cx: Context<()>| async move { applications.manager().start(&cx).await.map(|_| ()) });
    let Err(StartError::Refused(reason)) = failed else { panic!("{failed:?}") };
    let atropos_kernel::ReasonKind::Value(value) = reason.kind() else { panic!("{reason}") };
    let error = value.downcast_ref::<ApplicationError>();
    assert!(matches!(error, Some(ApplicationError::Start(name, _)) if name == "b"), "{error:?}");
    bed.settle();
    assert_eq!((bed.processes(), yard.live()), (0, 0));
}

/// Issue 14, 30: a start that fails leaves what was up before, as OTP's `ensure_all_started` does:
/// the dependencies that it has started are stopped again, the last one first.
#[test]
fn n30_failed_start_is_undone() {
    let mut bed = Bed::new(2, 1);
    let yard = Yard::default();
    yard.fail("web", usize::MAX);
    let manager = Applications::new()
        .with(Application::new("log", tree(&yard, "log")))
        .with(Application::new("db", tree(&yard, "db")).depends_on("log"))
        .with(Application::new("cache", tree(&yard, "cache")).depends_on("db"))
        .with(Application::new("web", tree(&yard, "web")).depends_on("cache"));
    bed.run(move |cx: Context<()>| async move {
        let manager = manager.manager().start(&cx).await.expect("up");
        assert_eq!(manager.ensure_started(&cx, "log").await, Ok(vec!["log".into()]));
        yard.events();
        for _ in 0..2 {
            let failed = manager.ensure_started(&cx, "web").await;
            assert!(matches!(failed, Err(ApplicationError::Start(name, _)) if name == "web"));
            assert_eq!(yard.events(), ["+db", "+cache", "-cache", "-db"]);
            let up = manager.which_applications(&cx).await.expect("alive");
            assert_eq!(up.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["log"]);
        }
        manager.stop(&cx, atropos_kernel::Reason::NORMAL, None).await.expect("it stops");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}
