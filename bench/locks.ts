// tsx bench/locks.ts [contests]: eight at once for a lock whose holder is dead, 150 times for each user of the lock,
// each userland and each list of holders. Prints how often there was not exactly one winner. Needs no sandbox.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contest, runLock, syncLock, userlands } from '../test/helpers/lock-contest.js'

const contests = Number(process.argv[2] ?? 150)
const directory = await mkdtemp(join(tmpdir(), 'userland-'))
try {
  for (const userland of await userlands(directory)) {
    for (const [name, user] of Object.entries({ runs: runLock, sync: syncLock })) {
      for (const [scene, dead] of [['a dead holder', 1], ['a dead holder with a dead successor', 2]] as const) {
        let none = 0
        let several = 0
        for (let round = 0; round < contests; round++) {
          const winners = await contest(user, userland, dead)
          if (winners === 0) none++
          if (winners > 1) several++
        }
        console.log(`${name}, ${userland.name}, ${scene}: ${contests} contests, no winner ${none}, several ${several}`)
      }
    }
  }
} finally {
  await rm(directory, { recursive: true, force: true })
}
