import type { ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import { mapConcurrently } from '../../lib/concurrently.js'
import type { Account } from '../../schemas/account.js'
import type { ComputePrices } from '../../schemas/compute-prices.js'
import type { ListQuery, SandboxPage } from '../../schemas/sandbox.js'
import { lookInApp } from '../modal/apps.js'
import { callModal, lookupMs } from '../modal/call.js'
import { listRunning, type Listed } from '../modal/lists.js'
import type { Tags } from '../modal/wire-tags.js'
import { appName } from '../modal/names.js'
import type { OwnedSandbox, OwnedSandboxes } from './owned.js'
import { searchTags } from './tags.js'
import { viewOf } from './view.js'

/** One page of the account's running sandboxes, newest first. The cursor is the sort key of the last one. */
export async function listSandboxes (
  client: ModalClient, owned: OwnedSandboxes, account: Account, { limit, cursor, tag = [] }: ListQuery,
  prices?: ComputePrices
): Promise<SandboxPage> {
  const wanted = tag.map(splitTag)
  const after = cursor === undefined ? undefined : decodeCursor(cursor)
  const rest = (await ownedRunning(client, owned, account))
    .filter(({ tags }) => wanted.every(([name, value]) => tags[name] === value))
    .map((sandbox) => ({ sandbox, key: sortKey(sandbox) }))
    .sort((one, other) => one.key < other.key ? 1 : -1)
    .filter(({ key }) => after === undefined || key < after)
  const page = rest.slice(0, limit)
  return {
    sandboxes: page.map(({ sandbox }) => viewOf(sandbox, null, prices)),
    nextCursor: rest.length > limit ? Buffer.from(page.at(-1)!.key).toString('base64url') : null
  }
}

/** The account's running sandboxes, or those with a volume. */
export async function ownedRunning (
  client: ModalClient, owned: OwnedSandboxes, account: Account, wanted: { volume?: string } = {}
): Promise<OwnedSandbox[]> {
  const listed = await runningOf(client, account, searchTags(wanted))
  const found = await mapConcurrently(listed, async ({ sandbox, tags }) => {
    return await owned.verify(account, sandbox, tags).catch((error: AppError) => {
      // It ended between the list and this call.
      if (error.code === 'SANDBOX_NOT_FOUND') return undefined
      throw error
    })
  })
  return found.filter((sandbox) => sandbox !== undefined)
}

/** The running sandboxes. An account without an app has none, and none is created for it. */
async function runningOf (client: ModalClient, account: Account, tags: Tags): Promise<Listed[]> {
  const running = async (appId: string) => {
    const listed: Listed[] = []
    for await (const one of listRunning(client, { appId, tags })) listed.push(one)
    return listed
  }
  return await callModal('list', 2 * lookupMs, () => lookInApp(client, appName(account.id), running)) ?? []
}

function splitTag (tag: string): [string, string] {
  const colon = tag.indexOf(':')
  return [tag.slice(0, colon), tag.slice(colon + 1)]
}

/** Sorts by age, and by id within a millisecond. */
function sortKey ({ createdAt, id }: OwnedSandbox): string {
  return `${createdAt} ${id}`
}

function decodeCursor (cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString()
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z sb-[A-Za-z0-9-]+$/.test(key)) {
    throw new AppError('BAD_REQUEST', { message: 'querystring.cursor is not a cursor of this list' })
  }
  return key
}
