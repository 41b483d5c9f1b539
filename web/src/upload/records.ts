/**
 * What survives a reload: which file belongs to which upload.
 *
 * Where the browser hands out file handles they are kept too, and the file need not be chosen again.
 */

export interface Stored {
  /** The upload's id. */
  upload: string;
  /** Who it belongs to. */
  user: string;
  asset: string;
  fingerprint: string;
  name: string;
  size: number;
  handle: FileSystemFileHandle | null;
  at: number;
}

export interface Records {
  all(user: string): Promise<Stored[]>;
  keep(record: Stored): Promise<void>;
  forget(upload: string): Promise<void>;
}

const NAME = "reelfleet-uploads";
const STORE = "uploads";

function opened(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "upload" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
  });
}

async function within<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await opened();
  try {
    return await new Promise<T>((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB"));
    });
  } finally {
    database.close();
  }
}

/** Records in IndexedDB. A browser that refuses (private windows of some) still uploads; it only can't resume by itself. */
export const stored: Records = {
  async all(user) {
    const records = await within<Stored[]>("readonly", (store) => store.getAll()).catch(() => []);
    return records.filter((record) => record.user === user).sort((a, b) => a.at - b.at);
  },
  async keep(record) {
    await within("readwrite", (store) => store.put(record)).catch(() =>
      // Some browsers can't store a handle.
      within("readwrite", (store) => store.put({ ...record, handle: null })).catch(() => undefined),
    );
  },
  async forget(upload) {
    await within("readwrite", (store) => store.delete(upload)).catch(() => undefined);
  },
};
