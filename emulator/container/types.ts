/**
 * What a container is to the rest of the emulator. The gRPC side knows only these shapes;
 * namespaces, mounts and shells stay behind them.
 */
import type { Socket } from 'node:net'
import type { Log } from '../log.js'
import type { Strictness } from '../strict.js'
import type { VolumeStore } from '../volumes/store.js'
import type { JoinedNetwork } from './network.js'

export interface RuntimeOptions {
  dataDir: string
  log: Pick<Log, 'warn'>
  /** Put into the base image `local` as /usr/local/bin/claude. */
  claudeBinary?: string | undefined
  /** What isolates containers; by default gVisor where `runsc` is installed and works, else namespaces. */
  isolation?: Isolation | undefined
  /** `host`: containers share the machine's network; `own`: not to have networks of their own is an error. */
  network?: 'own' | 'host' | undefined
  strictness?: Strictness
}

/** Linux namespaces alone, or gVisor, whose `runsc` puts a kernel of its own between a container and the host's. */
export type Isolation = 'namespaces' | 'runsc'

/** Makes containers: as root, or as an ordinary user in a user namespace. */
export interface ContainerRuntime {
  readonly mode: 'root' | 'user'
  readonly volumes: VolumeStore
  start (spec: ContainerSpec): Promise<Container>
  /** Whether limits of memory, or of CPUs, hold on this machine. */
  enforces (limit: 'memory' | 'cpu'): Promise<boolean>
  /** Why a container can't have a network of its own here, or is not to; undefined where it has. */
  withoutNetworks (): Promise<string | undefined>
  /** What running containers are made of. */
  readonly rootfsInUse: Rootfs[]
  selfTest (): Promise<SelfTest>
  close (): Promise<void>
}

/**
 * Whether containers work on this machine, and whether common programs do in them: an old gVisor lacks system calls of
 * newer systems. `message` is one line for people.
 */
export interface SelfTest { ok: boolean, usable: boolean, mode: string, message: string }

/** A root file system: a base directory (or the composed `local` base) and the layers built on top, lowest first. */
export interface Rootfs {
  base: { kind: 'local' } | { kind: 'directory', path: string }
  /** Layer directories made by {@link Container.saveLayer}, lowest first. */
  layers: string[]
}

/** A Modal volume in one container: a private view of the volume's last committed state. */
export interface VolumeMount {
  volumeId: string
  /** Absolute, normalized path in the container. A link on the way is refused. */
  path: string
  readOnly: boolean
  /** Directory inside the volume to mount instead of its root; created when missing. A link is refused. */
  subPath?: string
}

export interface ContainerSpec {
  /** The sandbox's id; also the host name inside. */
  id: string
  rootfs: Rootfs
  volumes: VolumeMount[]
  /** The whole environment of the entrypoint, and the base of that of every exec. */
  env: Record<string, string>
  /** Absolute; created when missing. */
  workdir: string
  /** The main process; when empty, the container sleeps until it is stopped. */
  command: string[]
  /** The image's, which gets the main process's command as its arguments. */
  entrypoint?: string[]
  /** Of the main process and of all execs: name or number, maybe with a group (`app`, `1000:1000`). Default: root. */
  user?: string
  network: Network
  /** Of its processes together, as far as they hold here; {@link ContainerRuntime.enforces}. */
  limits?: Limits
  /** PTY for the entrypoint. */
  pty?: PtySize
}

/** A process that would need more memory is killed; CPUs are time on any of them. */
export interface Limits { memoryBytes?: number, cpus?: number }

/**
 * `open`: a network of its own with a way out to everywhere; `host`, the machine's, where it can't have one
 * ({@link ContainerRuntime.withoutNetworks}). `none`: nothing but a loopback of its own. With a list, a network of its
 * own with a way out to these addresses only. Or another container's.
 */
export type Network = 'open' | 'host' | 'none' | { cidrs: string[] } | JoinedNetwork

export interface PtySize { rows: number, columns: number, term: string, colorTerm?: string }

export interface ExecSpec {
  command: string[]
  /** Added to the container's environment, and overrides it. */
  env?: Record<string, string>
  /** Absolute; default: the container's workdir. A directory that does not exist fails the start. */
  workdir?: string
  /** Default: the container's. */
  user?: string
  pty?: PtySize
  /** Seconds after which the command is killed with SIGKILL. */
  timeoutSeconds?: number
  /** `ignore`: the stream goes to /dev/null. */
  stdout?: 'pipe' | 'ignore'
  stderr?: 'pipe' | 'ignore'
}

/** How a process ended: an exit code, or the signal that killed it. */
export type ExitStatus = { code: number } | { signal: number }

/** Output kept in a file; any number of readers may follow it from any byte offset until it ends. */
export interface Spool {
  /** Bytes written so far. */
  readonly size: number
  /** Bytes on disk: of a long output, the oldest are dropped once they have been read. */
  readonly kept: number
  /** Whether there is a reader at the moment. */
  readonly isRead: boolean
  /**
   * Yields bytes from `offset` (in order, no gaps), waits for more, and returns when the stream has ended.
   * @throws {ContainerError} `dropped` for what is no longer kept; `no_space` where output could not be kept
   */
  read (offset: number, signal?: AbortSignal): AsyncIterable<Buffer>
}

/** A process's standard input: the byte count makes retried writes harmless. */
export interface StdinPipe {
  /** Bytes accepted so far. */
  readonly written: number
  readonly closed: boolean
  /** Resolves when the kernel has taken the bytes. Rejects when the reader is gone. */
  write (data: Buffer): Promise<void>
  end (): void
}

export interface Process {
  readonly stdin: StdinPipe
  readonly stdout: Spool
  /** Empty with a PTY: a terminal has one stream. */
  readonly stderr: Spool
  /** Resolves at the exit itself, even while others hold the output open. Never rejects. */
  readonly exited: Promise<ExitStatus>
  /** Undefined while running. */
  readonly status: ExitStatus | undefined
  /** Resolves when nothing more is added to the output. Never rejects. */
  readonly drained: Promise<void>
  /** Removes the kept output. */
  discard (): Promise<void>
}

export interface Container {
  /** The entrypoint. */
  readonly main: Process
  /** Resolves when the entrypoint has ended or the container was killed, after the final volume commit. */
  readonly exited: Promise<ExitStatus>
  /** @throws {ContainerError} when the container has ended or the command can't be started. */
  exec (spec: ExecSpec): Promise<Process>
  /** Whether it has ended because its processes used too much memory. */
  readonly isOutOfMemory: boolean
  /** Number of execs still running. */
  readonly activeExecs: number
  /** Merges this container's writes into the volumes' committed state; per file, the last writer wins. */
  commitVolumes (): Promise<void>
  /**
   * Commits, then shows what others have committed.
   * @throws {ContainerError} `busy` while files on a volume are open; the container ends when it loses one
   */
  reloadVolumes (): Promise<void>
  /**
   * Kills every process, commits the volumes, unmounts, and removes everything but the kept output. Idempotent. When
   * the commit fails, the container stays as it is, without processes, and tries again by itself and at the next call.
   * @throws {ContainerError} when the volumes could not be committed: `no_space`, or `failed`
   */
  stop (): Promise<void>
  /** What {@link stop} has failed with since its last call. */
  readonly stopFailure: Error | undefined
  /** Stops the container and removes its output as well. */
  discard (): Promise<void>
  /**
   * Copies what it has written so far (except to volumes, mounted images, /dev, /proc and /sys) as a layer; it goes on.
   * @throws {ContainerError} `unsupported`
   */
  copyLayer (directory: string): Promise<void>
  /**
   * Copies a directory as it looks inside, with what is mounted there. `path` is absolute and normalized.
   * @throws {ContainerError} `unsupported`; `failed` when it is none, or a link leads there
   */
  copyDirectory (path: string, directory: string): Promise<void>
  /**
   * Shows an image, or an empty directory, at an existing directory. What is written there is the container's alone.
   * @throws {ContainerError} `unsupported`; `failed` when it is none, a link leads there, or an image is mounted there
   */
  mountImage (path: string, rootfs: Rootfs | undefined): Promise<void>
  /** @throws {ContainerError} `busy` while files there are open; `failed` when no image is mounted there */
  unmountImage (path: string): Promise<void>
  /**
   * The address in its network at which it takes TCP connections on a port; undefined when it does not.
   * @throws {ContainerError} `unsupported`
   */
  listener (port: number): Promise<string | undefined>
  /**
   * A connection to a port on which it listens; undefined when it does not.
   * @throws {ContainerError} `unsupported`
   */
  connect (port: number): Promise<Socket | undefined>
  /** Its network, for other containers; undefined when they can't join it. */
  readonly network: Network | undefined
  /** Of images: what it was started from and what is mounted. */
  readonly rootfs: Rootfs[]
  /** Stops the container and keeps its writes (except to volumes, /tmp, /dev, /proc and /sys) as a layer. */
  saveLayer (directory: string): Promise<void>
}

/** Whether a user, as images name it, is root. */
export function isRoot (user: string | undefined): boolean {
  return user === undefined || /^(root|0)?(:(root|0)?)?$/.test(user)
}

/** A failure of the container layer, with a machine-readable reason. */
export class ContainerError extends Error {
  readonly reason: 'ended' | 'busy' | 'dropped' | 'no_space' | 'unsupported' | 'failed'

  constructor (reason: ContainerError['reason'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ContainerError'
    this.reason = reason
  }
}
