/**
 * fastGraphics says whether WebGL is drawn by a graphics card. Drawn in software it is ten times
 * slower than the page's own elements, and keys wait behind output.
 */
export function fastGraphics(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : "";
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // a browser has few
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}
