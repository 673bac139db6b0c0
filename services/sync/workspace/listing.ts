import { EndOfStream, type ByteReader } from '../../../lib/byte-reader.js'
import { lostReason, scriptExit } from './scripts.js'
import { badName, isEntry, readStatRecords, toEntry } from './stat-records.js'
import { WorkspaceLost, type Listing } from './workspace.js'

/** Reads what the list script says. @throws {WorkspaceLost} when that is not all there is. */
export async function readListing (reader: ByteReader): Promise<Listing> {
  const listing: Listing = { entries: new Map(), problems: [], special: 0, missing: false }
  try {
    const exitCode = Number(await readStatRecords(reader, (look) => {
      if (look.path === '.') return
      if (!look.validName) listing.problems.push(badName(look.path))
      else if (isEntry(look)) listing.entries.set(look.path, toEntry(look))
      else listing.special++
    }))
    const complaints = (await reader.until('\n//\n'))?.toString() ?? ''
    if (exitCode === scriptExit.noRoot) return { ...listing, missing: true }
    // Somebody may not read all of it, or something went away in the meantime.
    if (exitCode > 1) throw lostReason(exitCode, complaints)
    for (const [, path] of complaints.matchAll(/^find: '?\.\/(.*?)'?: Permission denied$/gm)) {
      listing.problems.push({ path: path!, code: 'UNREADABLE', message: 'The directory may not be read.' })
    }
    return listing
  } catch (error) {
    throw error instanceof EndOfStream ? new WorkspaceLost('the listing of the workspace was cut off', error) : error
  }
}
