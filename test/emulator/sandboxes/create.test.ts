import { status } from '@grpc/grpc-js'
import t from 'tap'
import { ContainerError, type Container } from '../../../emulator/container/types.js'
import { createSandbox, type CreateParts } from '../../../emulator/sandboxes/create.js'
import { SandboxRegistry } from '../../../emulator/sandboxes/registry.js'
import type { SandboxCreateMessage } from '../../../emulator/proto/messages.js'

/** A container that runs until it is discarded. */
function containerWith (listener: () => Promise<string | undefined>) {
  const told: string[] = []
  const never = new Promise<never>(() => {})
  const container = {
    main: { drained: never },
    exited: never,
    listener,
    discard: async () => { told.push('discarded') }
  } as unknown as Container
  return { container, told }
}

/** Creates a sandbox whose failed starts are told by its result. */
async function create (start: () => Promise<Container>) {
  const registry = new SandboxRegistry()
  const parts = {
    state: { records: { apps: [{ id: 'ap-1', name: 'app', environment: 'main' }], environments: ['main'] } },
    registry,
    images: { built: async () => ({ imageId: 'im-1', env: {}, rootfs: { base: { kind: 'local' }, layers: [] } }) },
    secrets: { values: () => ({}), resolve: () => ({}) },
    start,
    strictness: { 'told-ends': 1 },
    enforces: () => true
  } as unknown as CreateParts
  const definition = {
    imageId: 'im-1',
    timeoutSecs: 60,
    volumeMounts: [],
    cloudBucketMounts: [],
    s3Mounts: [],
    nfsMounts: [],
    mountIds: [],
    secretIds: [],
    entrypointArgs: [],
    inboundCidrAllowlist: [],
    cloudProvider: 0,
    cloudProviderStr: '',
    experimentalOptions: {},
    experimentalOptionsV2: {},
    readinessProbe: { tcpPort: 80 }
  }
  const request = { appId: 'ap-1', definition, tags: [] } as unknown as SandboxCreateMessage
  return { registry, created: createSandbox(parts, request, 'V2', () => {}) }
}

t.test('A container that could not be started is told by the result', async (t) => {
  const { registry, created } = await create(async () => { throw new ContainerError('failed', 'no such sub path') })
  const sandbox = await created
  t.match(sandbox.result, { status: 5, exception: /no such sub path/ })
  t.same(registry.all(), [sandbox])
})

t.test('What is not supported fails the create', async (t) => {
  const { registry, created } = await create(async () => { throw new ContainerError('unsupported', 'not here') })
  await t.rejects(created, { name: 'ContainerError', message: 'not here' })
  t.same(registry.all(), [])
})

t.test('A container that runs, and can\'t be used, is removed, and the create fails', async (t) => {
  const { container, told } = containerWith(async () => { throw new Error('no answer') })
  const { registry, created } = await create(async () => container)
  await t.rejects(created, { code: status.FAILED_PRECONDITION, message: /no answer/ })
  t.same(told, ['discarded'])
  t.same(registry.all(), [])
})
