import { ApiError, offline, paths } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { bytes } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { notice } from '../views/notice.js'

/** A button that lets one choose files. */
export function uploadButton (onFiles) {
  const input = h('input', { type: 'file', multiple: true, hidden: true, 'aria-label': 'Files to upload' })
  input.addEventListener('change', () => {
    onFiles([...input.files])
    input.value = ''
  })
  return h('button', { type: 'button', class: 'button small', onclick: () => input.click() }, icon('upload'), 'Upload', input)
}

/** Puts files into the workdir, one by one, each with its progress; what failed stays until it is dismissed. */
export async function uploadFiles ({ id, workdir }, files, place) {
  for (const file of files) {
    const bar = h('progress', { max: '1', value: '0', 'aria-label': `Upload of ${file.name}` })
    const line = h('div', { class: 'upload' }, h('span', { class: 'file-name' }, file.name),
      h('span', { class: 'muted small' }, bytes(file.size)), bar)
    place.append(line)
    try {
      await put(paths.content(id, `${workdir.replace(/\/$/, '')}/${file.name}`), file, (part) => { bar.value = part })
      announce(`${file.name} is uploaded`)
      line.remove()
    } catch (error) {
      line.replaceWith(notice({ message: `${file.name} was not uploaded. ${error.message}`, hint: error.hint }))
    }
  }
}

/** `fetch` does not tell how far an upload is. */
function put (path, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new window.XMLHttpRequest()
    request.open('PUT', path)
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.responseType = 'json'
    request.upload.onprogress = ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 1)
    request.onload = () => {
      if (request.status === 200) resolve()
      else reject(new ApiError(request.response ?? {}, request.status))
    }
    request.onerror = () => reject(offline())
    request.send(file)
  })
}
