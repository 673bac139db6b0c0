/** What a workspace is made of; anything else in it (sockets, devices, pipes) is no work of anybody's. */
export type EntryType = 'file' | 'directory' | 'symlink'

/** One entry of a workspace, as a look at it says. */
export interface Entry {
  /** Relative to the workspace, with `/` between names. */
  path: string
  type: EntryType
  /** Permission bits. */
  mode: number
  /** Bytes; of a symlink its target's length, of a directory 0. */
  size: number
  /** Seconds since 1970 as text, with nanoseconds where the userland tells them. */
  mtime: string
  ctime: string
  uid: number
  gid: number
}

/** Why something could not be synced: `code` is stable, `message` is for people. */
export interface Problem { path: string, code: string, message: string }

export interface Listing {
  entries: Map<string, Entry>
  /** What could not be looked at, such as directories that may not be read. */
  problems: Problem[]
  /** Sockets, devices, pipes. */
  special: number
  /** There is no such directory, or it may not be read: nothing is known of what should be there. */
  missing: boolean
}

/** A file or symlink that was read while nothing changed it. */
export interface ReadEntry { entry: Entry, body: Buffer }

export interface LargeRead {
  /** As it was before the first chunk; undefined when it is no file any more. */
  entry: Entry | undefined
  /** `entry.size` bytes, or fewer when it got shorter. */
  chunks: AsyncIterable<Uint8Array>
  /** To be asked after the last chunk: the entry, when nothing has changed it since before the first one. */
  confirm (): Promise<Entry | undefined>
  cancel (): void
}

export interface WriteEntry {
  path: string
  type: EntryType
  mode: number
  mtime: string
  size: number
  /** Of a file; pieces of a large one. As long as `size`, else the write fails. */
  body?: Buffer | AsyncIterable<Uint8Array>
  /** Of a symlink. */
  target?: string
}

/** The side of a sync where the files are. No method follows a symlink. */
export interface Workspace {
  /** @throws {WorkspaceLost} */
  list (): Promise<Listing>
  /**
   * Reads files that fit into memory, and symlinks. Each is yielded once, read while it did not change; one that
   * changed, or is gone, is yielded as its problem (CHANGED, GONE, UNREADABLE). At most a few MiB are read ahead.
   */
  readMany (entries: Entry[]): AsyncIterable<ReadEntry | Problem>
  /** Reads a large file as a stream. */
  readLarge (entry: Entry): Promise<LargeRead>
  /**
   * Writes in the given order, makes missing parents, replaces what is there but a directory that is not empty.
   * Whether all of it came about is for a new listing to tell. @returns the complaints, as far as there are any.
   */
  write (entries: AsyncIterable<WriteEntry>): Promise<string>
  /** Removes files, symlinks and empty directories; what is not there is no mistake. */
  remove (paths: string[]): Promise<void>
  /** SHA-256 of files, by path; those that can't be read are missing. */
  hash (paths: string[]): Promise<Map<string, string>>
}

/** The workspace as a whole can't be reached or is not there. */
export class WorkspaceLost extends Error {
  constructor (message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'WorkspaceLost'
  }
}

/** A file may change while it is read; so often it is tried again, after such waits. */
export const rereadDelays = [100, 500, 2100]
