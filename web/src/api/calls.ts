/** The calls that pages make, each by its name; and the keys that their answers are kept under. */
import { api, query } from "./client";
import { Problem } from "./problem";
import type {
  Asset, AssetDetail, AssetPage, Happened, OpenAsset, OpenPage, OwnReview, SignedPart, Upload, User, Visibility,
} from "./types";
import { look } from "../upload/estimate";
import type { UploadApi } from "../upload/items";

export interface Filter {
  q: string;
  state: string;
  sort: string;
  /** `me`, or nothing: all that one may list. */
  owner: string;
}

export const keys = {
  assets: (filter: Filter) => ["assets", filter] as const,
  asset: (id: string) => ["asset", id] as const,
  progress: (id: string) => ["progress", id] as const,
  explore: (q: string) => ["explore", q] as const,
  reviews: ["reviews"] as const,
  review: (token: string) => ["review", token] as const,
  apiKeys: ["keys"] as const,
  webhooks: ["webhooks"] as const,
  deliveries: (id: string) => ["deliveries", id] as const,
  operations: ["operations"] as const,
  letters: ["letters"] as const,
  users: ["users"] as const,
  invitations: ["invitations"] as const,
  audit: (path: string, kind: string) => ["audit", path, kind] as const,
  user: (id: string) => ["user", id] as const,
  events: ["events"] as const,
};

export const assets = {
  list: (filter: Filter, cursor: string | null, signal: AbortSignal) =>
    api<AssetPage>("GET", `/v1/assets${query({ ...filter, cursor, limit: 48 })}`, { signal }),
  show: (id: string, signal: AbortSignal) => api<AssetDetail>("GET", `/v1/assets/${id}`, { signal }),
  edit: (
    asset: Pick<Asset, "id" | "edition">,
    change: { name?: string; description?: string; tags?: string[]; visibility?: Visibility },
  ) => api<Asset>("PATCH", `/v1/assets/${asset.id}`, { body: change, headers: { "if-match": `"${asset.edition}"` } }),
  remove: (id: string) => api<Asset>("DELETE", `/v1/assets/${id}`),
  purge: (id: string) => api<Asset>("DELETE", `/v1/assets/${id}?purge=now`),
  restore: (id: string) => api<Asset>("POST", `/v1/assets/${id}/restore`),
  askAgain: (id: string) => api<OwnReview>("POST", `/v1/assets/${id}/review`),
  original: (id: string) => api<{ url: string; name: string }>("GET", `/v1/assets/${id}/original`),
};

export const explore = {
  list: (q: string, cursor: string | null, signal: AbortSignal) =>
    api<OpenPage>("GET", `/v1/explore${query({ q, cursor, limit: 48 })}`, { signal, anonymous: true }),
  show: (id: string, signal: AbortSignal) =>
    api<OpenAsset>("GET", `/v1/explore/${id}`, { signal, anonymous: true }),
};

export const uploads: UploadApi = {
  create: async (file, fingerprint, sums, key) =>
    api<Upload>("POST", "/v1/uploads", {
      body: {
        name: file.name,
        size: file.size,
        type: file.type,
        last_modified: file.lastModified,
        fingerprint,
        known: await look(file),
        ...(sums ? { checksum: "sha256" } : {}),
      },
      headers: { "idempotency-key": key },
    }),
  show: (id) => api<Upload>("GET", `/v1/uploads/${id}`),
  open: async () => (await api<{ uploads: Upload[] }>("GET", "/v1/uploads")).uploads,
  sign: (id, parts, signal) => api<SignedPart[]>("POST", `/v1/uploads/${id}/parts`, { body: { parts }, signal }),
  complete: async (id, sum) => {
    await api("POST", `/v1/uploads/${id}/complete`, { body: sum ? { sha256_of_parts: sum } : {} });
  },
  abort: async (id) => {
    await api("DELETE", `/v1/uploads/${id}`);
  },
  rename: async (id, name) => {
    await api("PATCH", `/v1/uploads/${id}`, { body: { name } });
  },
  retitle: async (id, name) => {
    await api("PATCH", `/v1/assets/${id}`, { body: { name } });
  },
};

/** A page of what happened, the latest first, and up to which position it was read. */
export interface Events {
  events: Happened[];
  seen: number;
  next_cursor: string | null;
}

export const events = {
  list: (cursor: string | null, signal: AbortSignal) =>
    api<Events>("GET", `/v1/me/events${query({ cursor, limit: 100 })}`, { signal }),
  see: (position: number) => api<undefined>("PUT", "/v1/me/events/seen", { body: { position } }),
};

export const users = {
  show: (id: string, signal: AbortSignal) => api<User>("GET", `/v1/users/${id}`, { signal }),
};

export const me = () => api<User>("GET", "/v1/me");

/** The asset as its owner sees it, else as everybody may. */
export async function seen(id: string, signedIn: boolean, signal: AbortSignal): Promise<AssetDetail | OpenAsset> {
  if (signedIn) {
    try {
      return await assets.show(id, signal);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
    }
  }
  return explore.show(id, signal);
}

export const isOwn = (asset: AssetDetail | OpenAsset): asset is AssetDetail => "owner" in asset;
