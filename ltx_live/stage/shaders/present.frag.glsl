#version 330 core
// The composed picture on the window, top row up.

in vec2 place;
out vec4 color;

uniform sampler2D composed;

void main() {
    color = vec4(texture(composed, vec2(place.x, 1.0 - place.y)).rgb, 1.0);
}
