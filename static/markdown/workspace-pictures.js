import { paths, send } from '../lib/api.js'
import { isPictureName, maxShownBytes, pictureOfFile } from '../lib/pictures.js'

/** Each is a request: a text must not make more of them. */
const mostPictures = 20

/**
 * Shows the pictures of the workspace that a text names, as they are now, one after the other. Where one can't be shown
 * its name stays. The sandbox and its workdir are those of the conversation around it.
 */
export async function showPictures (element) {
  const { sandbox, workdir } = element.closest('[data-sandbox]')?.dataset ?? {}
  if (sandbox === undefined) return
  const places = [...element.querySelectorAll('.workspace-picture')].slice(0, mostPictures)
  for (const place of places) await show(place, { sandbox, workdir }).catch(() => {})
}

async function show (place, { sandbox, workdir }) {
  const name = decodeURIComponent(place.dataset.path)
  if (!isPictureName(name) || !place.isConnected) return
  const path = name.startsWith('/') ? name : `${workdir.replace(/\/$/, '')}/${name.replace(/^\.\//, '')}`
  const response = await send('GET', paths.content(sandbox, path), { accept: '*/*' })
  const size = response.headers.get('content-length')
  if (size === null || Number(size) > maxShownBytes) return await response.body.cancel()
  const picture = await pictureOfFile(await response.blob(), name, place.textContent)
  if (picture) place.replaceChildren(picture)
}
