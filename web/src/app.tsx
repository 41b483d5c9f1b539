/** Which page an address is, and what stays around it. */
import { lazy, Suspense, useEffect, useRef, useSyncExternalStore, type ComponentType, type ReactNode } from "react";
import { Link, Route, Switch, useLocation } from "wouter";
import type { Role, User } from "./api/types";
import { session } from "./api/session";
import { Dock } from "./dock";
import { SignIn, SignUp, Forgot, Reset } from "./pages/gate";
import { Library } from "./pages/library";
import { Icon, Logo, type IconName } from "./parts/icon";
import { Toasts } from "./parts/toast";
import { Boundary, Empty, Failure, useTitle } from "./parts/ui";
import { useNews } from "./news";
import { realtime, type Connection } from "./realtime/client";
import { desk } from "./price-desk";
import { uploader } from "./uploads";
import { Problem } from "./api/problem";

const Explore = lazy(() => import("./pages/explore").then(({ Explore: page }) => ({ default: page })));
const Watch = lazy(() => import("./pages/watch").then(({ Watch: page }) => ({ default: page })));
const Desk = lazy(() => import("./pages/desk").then(({ Desk: page }) => ({ default: page })));
const LinkReview = lazy(() => import("./pages/link-review").then(({ LinkReview: page }) => ({ default: page })));
const Operations = lazy(() => import("./pages/operations").then(({ Operations: page }) => ({ default: page })));
const Timeline = lazy(() => import("./pages/operations-timeline").then(({ Timeline: page }) => ({ default: page })));
const Webhooks = lazy(() => import("./pages/webhooks").then(({ Webhooks: page }) => ({ default: page })));
const Keys = lazy(() => import("./pages/keys").then(({ Keys: page }) => ({ default: page })));
const Users = lazy(() => import("./pages/users").then(({ Users: page }) => ({ default: page })));
const Audit = lazy(() => import("./pages/audit").then(({ Audit: page }) => ({ default: page })));
const Docs = lazy(() => import("./pages/docs").then(({ Docs: page }) => ({ default: page })));
const Embed = lazy(() => import("./pages/embed").then(({ Embed: page }) => ({ default: page })));
const Notifications = lazy(() => import("./pages/notifications").then(({ Notifications: page }) => ({ default: page })));
const Settings = lazy(() => import("./pages/settings").then(({ Settings: page }) => ({ default: page })));

export function useSession() {
  return useSyncExternalStore(session.subscribe, session.snapshot);
}

export function App() {
  const state = useSession();
  const [path] = useLocation();
  const user = state.status === "in" ? state.user : null;

  useEffect(() => {
    if (!user?.id) return;
    realtime.start();
    // Other tabs and devices begin and finish uploads too.
    const look = (): void => {
      if (document.visibilityState === "visible") void uploader.restore().catch(() => undefined);
    };
    void uploader.restore().catch(() => undefined);
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      realtime.stop();
      uploader.leave();
      desk.leave();
    };
  }, [user?.id]);

  const embedded = /^\/embed\/([^/]+)$/.exec(path);
  if (embedded?.[1]) {
    return (
      <Suspense fallback={<Splash />}>
        <Embed id={embedded[1]} />
      </Suspense>
    );
  }
  // A link of a mail carries its own right, signed in or not.
  const link = /^\/review\/([^/]+)$/.exec(path);
  if (link?.[1]) {
    return (
      <Gate wide>
        <LinkReview token={link[1]} />
      </Gate>
    );
  }
  if (state.status === "unknown") return <Splash />;
  if (state.status === "unreachable") {
    return (
      <Gate>
        <Failure error={Problem.unreachable()} again={() => void session.begin()} />
      </Gate>
    );
  }
  if (!user) return <Outside path={path} />;
  return <Inside user={user} />;
}

/** Nobody is signed in: what is public, and the ways in. */
function Outside({ path }: { path: string }) {
  if (path === "/explore" || path === "/docs" || path.startsWith("/watch/")) {
    return (
      <Shell user={null}>
        <Suspense fallback={<Splash />}>
          {path === "/explore" && <Explore />}
          {path === "/docs" && <Docs />}
          {path.startsWith("/watch/") && <Watch key={path} id={path.slice("/watch/".length)} user={null} />}
        </Suspense>
      </Shell>
    );
  }
  const pages: Record<string, ComponentType> = { "/sign-up": SignUp, "/forgot": Forgot, "/reset": Reset };
  const Page = pages[path] ?? SignIn;
  return (
    <Gate>
      <Page />
    </Gate>
  );
}

function Inside({ user }: { user: User }) {
  const may = (role: Role): boolean => user.roles.includes(role) || user.roles.includes("admin");
  // Administrators steer a tenant, not the fleet.
  const operates = user.roles.includes("operator");
  return (
    <Shell user={user} dock={<Dock />}>
      <Suspense fallback={<Splash />}>
        <Switch>
          <Route path="/"><Library user={user} /></Route>
          <Route path="/explore"><Explore /></Route>
          <Route path="/watch/:id">{({ id }) => <Watch key={id} id={id} user={user} />}</Route>
          {may("reviewer") && <Route path="/review"><Desk wanted={null} /></Route>}
          {may("reviewer") && <Route path="/reviews/:id">{({ id }) => <Desk key={id} wanted={id} />}</Route>}
          <Route path="/notifications"><Notifications /></Route>
          {operates && <Route path="/operations/assets/:id">{({ id }) => <Timeline id={id} />}</Route>}
          {operates && <Route path="/operations/:tab?">{({ tab }) => <Operations tab={tab ?? ""} />}</Route>}
          <Route path="/webhooks"><Webhooks user={user} /></Route>
          <Route path="/keys"><Keys user={user} /></Route>
          {may("admin") && <Route path="/audit"><Audit /></Route>}
          {may("admin") && <Route path="/users"><Users me={user} /></Route>}
          <Route path="/settings"><Settings user={user} /></Route>
          <Route path="/docs"><Docs /></Route>
          <Route path="/reset"><Reset /></Route>
          <Route path="/sign-in"><Home /></Route>
          <Route path="/sign-up"><Home /></Route>
          <Route><Nowhere /></Route>
        </Switch>
      </Suspense>
    </Shell>
  );
}

function Home() {
  const [, go] = useLocation();
  useEffect(() => {
    const wanted = new URLSearchParams(location.search).get("next");
    // Only to a page of ours: "//host" is another origin.
    go(wanted && /^\/(?![/\\])/.test(wanted) ? wanted : "/", { replace: true });
  }, [go]);
  return null;
}

function Nowhere() {
  useTitle("Not found");
  return (
    <Empty icon="compass" title="There is no such page">
      <Link className="button" href="/">Go to the library</Link>
    </Empty>
  );
}

function Splash() {
  return (
    <div className="empty" role="status">
      <Icon name="gear" spin />
      <span className="hidden-text">Loading</span>
    </div>
  );
}

function Gate({ children, wide = false }: { children: ReactNode; wide?: boolean }) {
  if (wide) {
    return (
      <main className="main">
        <Suspense fallback={<Splash />}>{children}</Suspense>
        <Toasts />
      </main>
    );
  }
  return (
    <div className="gate">
      <main>
        <div className="brand">
          <Logo />
          reelfleet
        </div>
        {children}
      </main>
    </div>
  );
}

function NavLink({ href, icon, children }: { href: string; icon: IconName; children: ReactNode }) {
  const [path] = useLocation();
  return (
    <Link href={href} aria-current={path === href ? "page" : undefined}>
      <Icon name={icon} />
      {children}
    </Link>
  );
}

function Shell({ user, dock, children }: { user: User | null; dock?: ReactNode; children: ReactNode }) {
  const [path, go] = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    // A new page begins at its top, for eyes and for screen readers.
    if (first.current) first.current = false;
    else {
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }, [path]);
  const may = (role: Role): boolean => !!user && (user.roles.includes(role) || user.roles.includes("admin"));
  return (
    <div className="shell">
      <a className="button skip" href="#main">Skip to the content</a>
      <div className="side">
        <Link className="brand" href={user ? "/" : "/explore"}>
          <Logo />
          reelfleet
        </Link>
        <nav aria-label="Pages">
          {user && <NavLink href="/" icon="library">Library</NavLink>}
          {user && <NavLink href="/notifications" icon="bell">Notifications<Unread /></NavLink>}
          <NavLink href="/explore" icon="compass">Explore</NavLink>
          {may("reviewer") && <NavLink href="/review" icon="review">Review</NavLink>}
          {user && <NavLink href="/keys" icon="key">Keys</NavLink>}
          {user && <NavLink href="/webhooks" icon="link">Webhooks</NavLink>}
          {user?.roles.includes("operator") && <NavLink href="/operations" icon="gear">Operations</NavLink>}
          {may("admin") && <NavLink href="/users" icon="users">Users</NavLink>}
          {user && <NavLink href="/settings" icon="settings">Settings</NavLink>}
          {!user && (
            <Link href={`/sign-in?next=${encodeURIComponent(path)}`}>
              <Icon name="in" />
              Sign in
            </Link>
          )}
        </nav>
        {user && (
          <div className="side-foot">
            <LinkState />
            <div className="who clip" title={user.email}>{user.name || user.email}</div>
            <a
              href="/sign-in"
              onClick={(event) => {
                event.preventDefault();
                void session.signOut().then(() => go("/sign-in"));
              }}
            >
              <Icon name="out" />
              Sign out
            </a>
          </div>
        )}
      </div>
      <main className="main" id="main" ref={main} tabIndex={-1}>
        <Boundary key={path}>{children}</Boundary>
      </main>
      {dock}
      <Toasts />
    </div>
  );
}

function Unread() {
  const { news, seen } = useNews();
  const count = news.filter(({ event, own }) => !own && seen !== null && event.position > seen).length;
  if (count === 0) return null;
  return <span className="count">{count > 99 ? "99+" : count}<span className="hidden-text"> unread</span></span>;
}

const CONNECTION: Record<Connection, string> = {
  live: "Live",
  connecting: "Connecting…",
  reconnecting: "Reconnecting…",
  offline: "Offline",
};

export function useConnection(): Connection {
  return useSyncExternalStore(realtime.subscribe, realtime.snapshot);
}

function LinkState() {
  const state = useConnection();
  return (
    <div className={`link-state ${state}`} role="status">
      <i />
      {CONNECTION[state]}
    </div>
  );
}
