// Prints failures as they happen and ends with the plain line "N passed, N failed, N skipped"; scripts/test.ts reads
// from .tap/counts.json what failed and what was skipped.
import { mkdirSync, writeFileSync } from 'node:fs'
import { Transform } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Parser } from 'tap-parser'

/** tap pipes its output through this, so it must be a Transform: a plain Writable would print nothing. */
export default class Reporter extends Transform {
  #counts = { passed: 0, failed: 0, skipped: [] }
  #parser = new Parser()

  constructor () {
    super()
    this.#parser.on('child', (file) => this.#watchFile(file))
    this.#parser.on('assert', (result) => this.#fileEnded(result))
  }

  #watchFile (file) {
    file.failedTests = 0
    file.on('assert', (result) => {
      const title = `${file.name} > ${result.name}`
      if (result.skip || result.todo) {
        this.#skipped(title, result.skip)
      } else if (result.ok) {
        this.#counts.passed++
      } else {
        this.#counts.failed++
        file.failedTests++
        this.push(`FAILED: ${title}\n${describe(result)}`)
      }
    })
    file.on('child', (test) => this.#showFailures(test, `${file.name} > ${test.name}`))
    this.#last = file
  }

  #last = null

  #skipped (title, skip) {
    const reason = typeof skip === 'string' ? skip : 'nobody has said why'
    this.#counts.skipped.push({ title, reason })
    this.push(`skipped: ${title} (${reason})\n`)
  }

  #showFailures (test, title) {
    test.on('assert', (result) => {
      if (result.skip) this.#skipped(`${title} > ${result.name}`, result.skip)
      if (!result.ok && !result.skip && !result.todo) this.push(`  at ${title} > ${result.name}\n${describe(result)}`)
    })
    test.on('child', (inner) => this.#showFailures(inner, `${title} > ${inner.name}`))
  }

  /** A file that dies at import or times out has no failing test of its own: it counts as one. */
  #fileEnded (result) {
    if (!result.ok && !result.skip && (this.#last === null || this.#last.failedTests === 0)) {
      this.#counts.failed++
      this.push(`FAILED: ${result.name}\n${describe(result)}`)
    }
    this.push(`${result.ok ? 'ok' : 'not ok'} ${result.name}\n`)
  }

  _transform (chunk, _encoding, done) {
    this.#parser.write(chunk)
    done()
  }

  _flush (done) {
    this.#parser.once('complete', () => {
      const { passed, failed, skipped } = this.#counts
      this.push(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`)
      const folder = fileURLToPath(new URL('../.tap', import.meta.url))
      mkdirSync(folder, { recursive: true })
      writeFileSync(`${folder}/counts.json`, JSON.stringify({ failed, skipped }))
      done()
    })
    this.#parser.end()
  }
}

function describe (result) {
  return result.diag ? `    ${JSON.stringify(result.diag, null, 2).replaceAll('\n', '\n    ')}\n` : ''
}
