#version 330 core
// Blends two frames and gives them the look; the same maths and order as look.py and geometry.py.
// Row 0 of frames and of the result is the top. Without MOVED there is no geometry and no trail.

in vec2 place;
layout(location = 0) out vec4 color;

uniform sampler2D frame;
uniform sampler2D incoming;
uniform float mix_amount;
uniform float brightness;
uniform float contrast;
uniform float gamma;
uniform float saturation;
uniform float hue;      // in sixths of the circle
uniform float invert;
uniform float level;

vec3 turn_hue(vec3 c, float turn) {
    float high = max(c.r, max(c.g, c.b));
    float chroma = high - min(c.r, min(c.g, c.b));
    if (chroma <= 0.0) return c;
    float sector = high == c.r ? (c.g - c.b) / chroma
                 : high == c.g ? 2.0 + (c.b - c.r) / chroma
                               : 4.0 + (c.r - c.g) / chroma;
    vec3 k = mod(vec3(5.0, 3.0, 1.0) + sector + turn, 6.0);
    return high - chroma * clamp(min(k, 4.0 - k), 0.0, 1.0);
}

#ifdef MOVED
layout(location = 1) out vec4 left_behind;  // the next frame's trail

uniform vec4 matrix;  // row by row
uniform vec2 pan;
uniform vec2 mirror;  // 1 where the second half repeats the first
uniform float zoom;
uniform sampler2D trail;
uniform float kept;   // share of the trail that stays

vec3 blended() {
    vec2 from_middle = place - 0.5;
    vec2 source = vec2(dot(matrix.xy, from_middle), dot(matrix.zw, from_middle)) - pan + 0.5;
    vec2 inside = min(source, 1.0 - source);
    vec2 cover = clamp(inside * vec2(textureSize(frame, 0)) * zoom + 0.5, 0.0, 1.0);
    vec2 at = mix(source, inside, mirror);
    vec3 c = mix(texture(frame, at).rgb, texture(incoming, at).rgb, mix_amount) * cover.x * cover.y;
    if (kept > 0.0) c += (texelFetch(trail, ivec2(gl_FragCoord.xy), 0).rgb - c) * kept;
    left_behind = vec4(c, 1.0);
    return c;
}
#else
vec3 blended() {
    return mix(texture(frame, place).rgb, texture(incoming, place).rgb, mix_amount);
}
#endif

void main() {
    vec3 c = blended();
    c = (c + brightness - 0.5) * contrast + 0.5;
    if (gamma != 1.0) c = pow(max(c, 0.0), vec3(1.0 / gamma));
    c = mix(vec3(dot(c, vec3(0.2126, 0.7152, 0.0722))), c, saturation);
    c = turn_hue(clamp(c, 0.0, 1.0), hue);
    c += (1.0 - 2.0 * c) * invert;
    color = vec4(c * level, 1.0);
}
