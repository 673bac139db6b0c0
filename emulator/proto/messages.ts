/**
 * The messages as proto-loader delivers them: camelCase, defaults filled in, `optional` fields absent when not sent,
 * unset messages null. Only what the emulator reads or sends; the `.proto` files beside this one are the schema.
 */

/** GenericResult.status. */
export const resultStatus = {
  success: 1, failure: 2, terminated: 3, timeout: 4, initFailure: 5, idleTimeout: 7, evicted: 8
} as const

/** ObjectCreationType. */
export const creation = {
  unspecified: 0, createIfMissing: 1, failIfExists: 2, overwriteIfExists: 3, ephemeral: 5
} as const

/** NetworkAccess.network_access_type. */
export const networkAccess = { unspecified: 0, open: 1, blocked: 2, allowlist: 3 } as const

/** ImageRegistryConfig.registry_auth_type. */
export const registryAuth = { aws: 1, gcp: 2, public: 3, staticCredentials: 4 } as const

export interface GenericResult { status: number, exception?: string, exitcode?: number }

export interface StringMap { contents: Record<string, string> }
export interface SecretSource { secretId?: string, env: StringMap | null }
export interface SandboxTag { tagName: string, tagValue: string }

export interface PtyInfo {
  enabled: boolean
  winszRows: number
  winszCols: number
  envTerm: string
  envColorterm: string
}

export interface VolumeMountMessage {
  volumeId: string
  mountPath: string
  allowBackgroundCommits: boolean
  readOnly: boolean
  subPath?: string
}

interface GpuConfig { type: number, count: number, gpuType: string }

interface Resources {
  memoryMb: number
  milliCpu: number
  gpuConfig: GpuConfig | null
  memoryMbMax: number
  milliCpuMax: number
  rdma: boolean
}

/** tunnel_type 1 is HTTP/2. */
export interface PortSpec { port: number, unencrypted: boolean, tunnelType?: number }

export interface ProbeMessage { tcpPort?: number, execCommand: { argv: string[] } | null, intervalMs?: number }

export interface SandboxDefinition {
  entrypointArgs: string[]
  mountIds: string[]
  imageId: string
  secretIds: string[]
  resources: Resources | null
  timeoutSecs: number
  workdir?: string
  nfsMounts: unknown[]
  blockNetwork: boolean
  s3Mounts: unknown[]
  volumeMounts: VolumeMountMessage[]
  cloudBucketMounts: unknown[]
  ptyInfo: PtyInfo | null
  schedulerPlacement: { regions: string[] } | null
  openPorts: { ports: PortSpec[] } | null
  i6pnEnabled: boolean
  networkAccess: { networkAccessType: number, allowedCidrs: string[], allowedDomains: string[] } | null
  proxyId?: string
  enableSnapshot: boolean
  cloudProvider: number
  cloudProviderStr: string
  runtime?: string
  name?: string
  experimentalOptions: Record<string, boolean>
  experimentalOptionsV2: Record<string, string>
  idleTimeoutSecs?: number
  customDomain: string
  includeOidcIdentityToken: boolean
  readinessProbe: ProbeMessage | null
  inboundCidrAllowlist: string[]
  environmentVariables: StringMap | null
  experimentalOutboundPolicy: unknown
  includeX509Svid: boolean
  outboundPolicy: unknown
}

export interface SandboxCreateMessage {
  appId: string
  definition: SandboxDefinition | null
  tags: SandboxTag[]
  /** V2 only. */
  ephemeralSecrets?: StringMap | null
  /** V2 only. */
  secretSources?: SecretSource[]
}

export interface SandboxListMessage {
  appId: string
  /** Seconds since the epoch; 0 starts from the newest. */
  beforeTimestamp: number
  environmentName: string
  includeFinished: boolean
  tags: SandboxTag[]
}

export interface ImageMessage {
  baseImages: Array<{ imageId: string, dockerTag: string }>
  dockerfileCommands: string[]
  contextFiles: unknown[]
  secretIds: string[]
  contextMountId: string
  gpuConfig: GpuConfig | null
  imageRegistryConfig: { registryAuthType: number, secretId: string } | null
  buildFunction: unknown
  buildFunctionDef: string
  buildArgs: Record<string, string>
  volumeMounts: unknown[]
}

export interface ImageGetOrCreateMessage {
  image: ImageMessage | null
  appId: string
  existingImageId: string
  forceBuild: boolean
  ignoreCache: boolean
  builderVersion: string
}

export interface ExecStartMessage {
  taskId: string
  execId: string
  commandArgs: string[]
  /** 0 is /dev/null, 1 a pipe. */
  stdoutConfig: number
  stderrConfig: number
  timeoutSecs?: number
  workdir?: string
  secretIds: string[]
  ptyInfo: PtyInfo | null
  containerId: string
  env: Record<string, string>
  secretSources: SecretSource[]
}

export interface ExecMessage { taskId: string, execId: string }
export interface StdinWriteMessage extends ExecMessage { offset: number, data: Buffer, eof: boolean }

export interface StdinStreamMessage {
  start: (ExecMessage & { offset: number }) | null
  data?: Buffer
  end: object | null
}
