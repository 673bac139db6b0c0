import { ApiError, offline, paths } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { formatBytes } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { failures } from './sync-report.js'

/** Files are uploaded in parallel, so that small ones do not each wait for a round trip. */
const concurrency = 3

/** Uploads files into a directory, keeping their relative paths. Failed files are listed with their reasons. */
export class Upload {
  #sandboxId
  #directory
  #chosen
  #cancelled = new AbortController()
  #sent = new Map()
  /** The paths of the files that have arrived. */
  #done = []
  #failed = []
  #bar = h('progress', { max: '1', value: '0', 'aria-label': words.upload.progress })
  #figures = h('span', { class: 'muted small' })
  element = h('div', { class: 'upload' })

  /** @param {import('./chosen-files.js').ChosenFiles} chosen */
  constructor (sandboxId, directory, chosen) {
    this.#sandboxId = sandboxId
    this.#directory = directory.replace(/\/$/, '')
    this.#chosen = chosen
    this.total = chosen.files.reduce((sum, { file }) => sum + file.size, 0)
    const { length } = chosen.files
    const title = length === 1 ? words.upload.uploadingOne(chosen.files[0].path) : words.upload.uploading(length)
    const cancel = () => this.#cancelled.abort()
    this.element.append(h('span', { class: 'file-name' }, title), this.#figures,
      h('button', { type: 'button', class: 'button small', onclick: cancel }, words.common.cancel), this.#bar)
  }

  /** @returns the paths of the files that have arrived */
  async start () {
    const waiting = [...this.#chosen.files]
    this.#show()
    await Promise.all(Array.from({ length: concurrency }, async () => {
      while (waiting.length > 0 && !this.#cancelled.signal.aborted) await this.#uploadFile(waiting.shift())
    }))
    this.#end()
    return this.#done
  }

  async #uploadFile ({ path, file }) {
    try {
      await put(paths.content(this.#sandboxId, `${this.#directory}/${path}`), file, this.#cancelled.signal, (sent) => {
        this.#sent.set(path, sent)
        this.#show()
      })
      this.#done.push(path)
    } catch (error) {
      if (!this.#cancelled.signal.aborted) this.#failed.push({ path, message: reasonOf(error, path) })
    }
    this.#sent.set(path, file.size)
    this.#show()
  }

  #show () {
    const sent = [...this.#sent.values()].reduce((sum, bytes) => sum + bytes, 0)
    if (this.total > 0) this.#bar.value = sent / this.total
    const { ofTotal } = words.common
    this.#figures.textContent = [
      ofTotal(this.#done.length, this.#chosen.files.length), ofTotal(formatBytes(sent), formatBytes(this.total))
    ].join(' · ')
  }

  /** Removes the progress, or replaces it with a list of what was not uploaded. */
  #end () {
    const { files, empty } = this.#chosen
    const cancelled = this.#cancelled.signal.aborted
    announce(words.upload.announced(this.#done.length, files.length))
    if (!cancelled && this.#failed.length === 0 && empty.length === 0) return this.element.remove()
    const lines = [...this.#failed, ...empty.map((path) => ({ path, message: words.upload.emptyFolder }))]
    const say = cancelled ? words.upload.cancelled : words.upload.done
    const notice = h('div', { class: 'notice', role: 'alert' },
      icon('warning'),
      h('div', { class: 'notice-text' },
        h('p', { class: 'notice-message' }, say(this.#done.length, files.length)),
        failures(lines)),
      h('button', {
        type: 'button', class: 'quiet', 'aria-label': words.common.dismiss, onclick: () => notice.remove()
      }, icon('cross')))
    this.element.replaceWith(notice)
  }
}

/** The service's message names its query parameter; the user knows the file. */
function reasonOf (error, path) {
  const message = error.message.replace(/^query\.path,? /, `${words.common.quoted(path)} `)
  return [/[.!?…]$/.test(message) ? message : `${message}.`, error.hint].filter(Boolean).join(' ')
}

/** With XMLHttpRequest, as `fetch` does not report upload progress. */
async function put (path, file, signal, onProgress) {
  const unreadable = new ApiError({ message: words.upload.unreadable, hint: words.upload.unreadableHint })
  if (file.error) throw unreadable
  await new Promise((resolve, reject) => {
    const request = new window.XMLHttpRequest()
    request.open('PUT', path)
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.responseType = 'json'
    request.upload.onprogress = ({ loaded }) => onProgress(loaded)
    request.onload = () => {
      if (request.status === 200) resolve()
      else reject(new ApiError(request.response ?? {}, request.status))
    }
    request.onerror = () => file.slice(0, 1).arrayBuffer().then(() => reject(offline()), () => reject(unreadable))
    request.onabort = () => reject(offline())
    signal.addEventListener('abort', () => request.abort(), { once: true })
    if (signal.aborted) request.abort()
    request.send(file)
  })
}
