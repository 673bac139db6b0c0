/** What a workspace is made of; anything else in it (sockets, devices, pipes) is nobody's work. */
export type EntryType = 'file' | 'directory' | 'symlink'

/** One entry of a workspace, as `stat` describes it. */
export interface Entry {
  /** Relative to the workspace, with `/` between names. */
  path: string
  type: EntryType
  /** Permission bits. */
  mode: number
  /** In bytes: of a file its content, of a symlink its target; 0 for a directory. */
  size: number
  /** Seconds since 1970 as text, with nanoseconds where the image's stat prints them. */
  mtime: string
  ctime: string
  uid: number
  gid: number
}

/** Why something could not be synced: `code` is stable, `message` is for people. */
export interface Problem { path: string, code: string, message: string }

export interface Listing {
  entries: Map<string, Entry>
  /** What could not be listed, such as directories that may not be read. */
  problems: Problem[]
  /** What comes back in another way than it was. */
  warnings: Problem[]
  /** Sockets, devices, pipes. */
  special: number
  /** The directory does not exist or may not be read, so nothing is known of its content. */
  missing: boolean
}

/** A file or symlink, read while nothing changed it. */
export interface ReadEntry { entry: Entry, body: Buffer }

export interface LargeRead {
  /** The file before the first chunk; undefined when there is no file of this name any more. */
  entry: Entry | undefined
  /** `entry.size` bytes, or fewer when the file became shorter. */
  chunks: AsyncIterable<Uint8Array>
  /** To be called after the last chunk. @returns the entry, if nothing changed the file since before the first one. */
  confirm (): Promise<Entry | undefined>
  cancel (): void
}

export interface WriteEntry {
  path: string
  type: EntryType
  mode: number
  mtime: string
  size: number
  /** The content of a file, of exactly `size` bytes; otherwise the write fails. Large files come in chunks. */
  body?: Buffer | AsyncIterable<Uint8Array>
  /** Where a symlink points to. */
  target?: string
}

/** The side of a sync that has the files. No method follows a symlink. */
export interface Workspace {
  /** @throws {WorkspaceLost} */
  list (): Promise<Listing>
  /**
   * Reads files that fit into memory, and symlinks. Each is yielded once: as it was read while nothing changed it, or
   * as a problem (CHANGED, GONE, UNREADABLE). At most a few MiB are read ahead.
   */
  readMany (entries: Entry[]): AsyncIterable<ReadEntry | Problem>
  /** Reads a large file as a stream. */
  readLarge (entry: Entry): Promise<LargeRead>
  /**
   * Writes in the given order, creates missing parents, and replaces anything but a directory that is not empty.
   * Whether everything was written is for a new listing to tell. @returns complaints, if there were any.
   */
  write (entries: AsyncIterable<WriteEntry>): Promise<string>
  /** Removes files, symlinks and empty directories; what does not exist is skipped. */
  remove (paths: string[]): Promise<void>
  /** SHA-256 of files, by path; files that cannot be read are left out. */
  hash (paths: string[]): Promise<Map<string, string>>
}

/** The workspace as a whole cannot be reached, or does not exist. */
export class WorkspaceLost extends Error {
  constructor (message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'WorkspaceLost'
  }
}

/** A file that changes while it is read is read again after each of these waits, in milliseconds. */
export const rereadDelays = [100, 500, 2100]
